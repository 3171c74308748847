from __future__ import annotations

import json
from typing import Any

import pytest

from mnistnn.errors import SpecError
from mnistnn.presets import PRESETS, preset
from mnistnn.recipe import Recipe


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = preset(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("part", ["network", "training"])
def test_half_a_recipe_is_refused(part: str) -> None:
    values: dict[str, Any] = preset("mlp3").to_dict()
    for broken in ({key: value for key, value in values.items() if key != part}, values | {part: 3}):
        with pytest.raises(SpecError, match=part):
            Recipe.from_dict(broken)
