"""A preset's recipe as the command line changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mnistnn.presets import preset
from mnistnn.recipe import Recipe

__all__ = ["changed_preset"]


def changed_preset(name: str, changes: Mapping[str, Any]) -> Recipe:
    """Returns a preset with the changes that are not None: `epochs`, `batch_size`, `learning_rate`.

    Raises:
        SpecError: there is no such preset, or a value is not legal.
    """
    recipe = preset(name)
    wanted = {key: value for key, value in changes.items() if value is not None}
    if (rate := wanted.pop("learning_rate", None)) is not None:
        wanted["optimizer"] = replace(recipe.training.optimizer, learning_rate=rate)
    return Recipe(recipe.network, replace(recipe.training, **wanted))
