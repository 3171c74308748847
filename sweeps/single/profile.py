"""Where the step's time goes when a preset is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mnistnn.data.dataset import Dataset
from mnistnn.network import Network, child_seed
from mnistnn.profiling import WARM_UP, Profile, profile
from mnistnn.training import Trainer
from sweeps.single.recipe import changed_preset

__all__ = ["profile_net"]


def profile_net(
    preset_name: str,
    *,
    dataset: Callable[[], Dataset],
    changes: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int = 100,
    plain: bool = False,
    say: Callable[[str], object] = print,
) -> Profile:
    """Trains a preset's first steps as `train_net` does, with a clock on each part; nothing of it is kept.

    Args:
        preset_name: the network and its recipe.
        dataset: gives the data set, once everything else is seen to be right.
        changes: to the recipe: `batch_size`, `learning_rate`; None leaves one as it is.
        seed: what weights, shuffling, dropout and augmentation derive from.
        steps: how many to count.
        plain: whether to run the layers one by one instead of the fused plan over them.
        say: takes each line of the log.

    Raises:
        InputError: something cannot be used.
        Diverged: the loss stopped being a finite number.
    """
    recipe = changed_preset(preset_name, changes or {})
    training = recipe.training
    network = Network(recipe.network, batch_size=training.batch_size, seed=child_seed(seed, 0), fused=not plain)
    train, validation = dataset().split(0)
    # A small data set, or large batches, may need more epochs than the preset has.
    needed = math.ceil((WARM_UP + steps) / math.ceil(len(train) / training.batch_size))
    spec = replace(training, epochs=min(1000, max(training.epochs, needed)))
    say(f"training {preset_name} for {WARM_UP} steps to warm up, and {steps} with clocks on them")
    return profile(Trainer(network, spec, train, seed=child_seed(seed, 1)), validation, steps=steps)
