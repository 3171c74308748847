"""Where a trial comes from: the seed that all of its randomness follows from, and the stages that it is trained in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from mnistnn.training import EpochMetrics, Trainer
from sweeps.study.storage import origin_of

__all__ = [
    "BORN_IN",
    "EXTENDS",
    "IMPORTED",
    "Stage",
    "identity_of",
    "seed_of",
    "stages_of",
    "total_epochs",
    "train_stages",
    "trial_seed",
]

#: The user attribute of a trial that goes on with another one: which, where that one stood, and to which epoch.
EXTENDS = "extends"
#: The user attribute of a trial that another study has trained: which study, which trial, and its seed there.
IMPORTED = "imported"
#: The user attribute of a trial whose study was given another name: the one that it began under.
BORN_IN = "born_in"

AnyTrial = FrozenTrial | optuna.Trial


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a training.

    Attributes:
        plan: the epochs that its schedule of the learning rate is laid out for.
        until: the last epoch that belongs to it; a stage that was pruned ends before its plan does.
    """

    plan: int
    until: int


def trial_seed(study_seed: int, origin: int) -> np.random.SeedSequence:
    """Returns the seed that everything random in a trial derives from."""
    return np.random.SeedSequence(study_seed, spawn_key=(origin,))


def seed_of(trial: AnyTrial, study_seed: int) -> tuple[int, int]:
    """Returns the study's seed and the number that a trial's randomness follows from.

    They are its own study's and its own, unless it goes on with another trial's training, or was imported.
    """
    for name in (EXTENDS, IMPORTED):
        if known := trial.user_attrs.get(name):
            return int(known["seed"]), int(known["origin"])
    return study_seed, origin_of(trial)


def identity_of(trial: AnyTrial, study: str, study_seed: int) -> dict[str, Any]:
    """Returns what the header of a trial's weights says about where they come from, so that a replay writes the same.

    Args:
        trial: any trial.
        study: the name of the study that it is in.
        study_seed: that one's seed.
    """
    if imported := trial.user_attrs.get(IMPORTED):
        return {"study": imported["study"], "trial": imported["trial"], "seed": imported["seed"]}
    return {"study": trial.user_attrs.get(BORN_IN, study), "trial": origin_of(trial), "seed": study_seed}


def total_epochs(trial: AnyTrial, epochs: int) -> int:
    """Returns how many epochs a trial shall have: those of its study, or more if it was extended.

    Args:
        trial: any trial.
        epochs: what the study gives a trial.
    """
    extends = trial.user_attrs.get(EXTENDS)
    return epochs if extends is None else int(extends["total"])


def stages_of(trial: AnyTrial, epochs: int) -> list[Stage]:
    """Returns the stages of a trial's training, in their order; most trials have one.

    Args:
        trial: any trial.
        epochs: what the study gives a trial.
    """
    extends: dict[str, Any] = trial.user_attrs.get(EXTENDS) or {}
    total = total_epochs(trial, epochs)
    earlier = zip(extends.get("plans", []), extends.get("epochs", []), strict=True)
    return [*(Stage(int(plan), int(until)) for plan, until in earlier), Stage(total, total)]


def train_stages(
    trainer: Trainer, stages: Sequence[Stage], stop: Callable[[], bool] = lambda: False
) -> Iterator[EpochMetrics]:
    """Trains the epochs that are still to do, stage after stage, and yields after each as `Trainer.fit` does.

    Args:
        trainer: at any epoch of any of the stages.
        stages: in their order.
        stop: as in `Trainer.fit`.
    """
    for stage in stages:
        if trainer.epoch >= stage.until:
            continue
        trainer.replan(stage.plan)
        for metrics in trainer.fit(stop):
            yield metrics
            if trainer.epoch >= stage.until:
                break
