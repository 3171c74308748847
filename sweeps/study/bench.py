"""What a worker has at hand for every trial, and how a trial's network and training are built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mnistnn.data.dataset import Dataset, Split
from mnistnn.network import Network, child_seed
from mnistnn.recipe import Recipe
from mnistnn.training import Trainer
from mnistnn.types import UInt8s
from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.forecast import Forecast
from sweeps.study.lineage import is_of_arm
from sweeps.study.space import Space

__all__ = ["Bench", "build_trainer"]


@dataclass(frozen=True, slots=True)
class Bench:
    """What a worker has at hand for every trial.

    Attributes:
        config: the study's configuration.
        space: its search space.
        train: the images to learn from.
        validation: the images to choose by.
        dataset: of which both are parts; members of the final stage have others of it.
        paths: the study's paths.
        tags: what is the same for all of its runs.
        inputs: the data sets, as `TrialLog.start` takes them.
        stop: asked before each step of a training; True ends the trial's attempt there.
        say: takes a line for the worker's log.
        forecast: knows how long trials take; without it, none is told its time.
        shifted: the images to choose by once more, as `shifted_images` gives them.
        left_s: says how many seconds are left of the study's time; None where that has no limit.
    """

    config: StudyConfig
    space: Space
    train: Split
    validation: Split
    dataset: Dataset
    paths: StudyPaths
    tags: Mapping[str, str]
    inputs: Sequence[Mapping[str, Any]]
    stop: Callable[[], bool]
    say: Callable[[str], None] = print
    forecast: Forecast | None = None
    shifted: UInt8s | None = None
    left_s: Callable[[], float | None] = lambda: None


def build_trainer(
    recipe: Recipe,
    seed: np.random.SeedSequence,
    train: Split,
    validation: Split | None,
    *,
    monitor: str = "val_loss",
    shifted: UInt8s | None = None,
) -> Trainer:
    """Builds the network and the training of a trial; the same recipe, seed and data give the same weights."""
    network = Network(
        recipe.network,
        batch_size=recipe.training.batch_size,
        seed=child_seed(seed, 0),
        by_name=is_of_arm(seed),
    )
    return Trainer(
        network, recipe.training, train, validation, seed=child_seed(seed, 1), monitor=monitor, shifted=shifted
    )
