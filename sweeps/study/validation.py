"""The validation images a second time, shifted: what a study is judged by that wants nets to hold on them too."""

from __future__ import annotations

from typing import Final

import numpy as np

from mnistnn.augment.translation import Translation
from mnistnn.data.dataset import Split
from mnistnn.types import UInt8s
from sweeps.config import StudyConfig
from sweeps.study.lineage import AnyTrial, is_final

__all__ = ["OBJECTIVE", "has_objective", "reported", "shifted_images"]

#: What a trial was judged by, where that is neither its loss nor its accuracy alone: in its attributes, and its record.
OBJECTIVE: Final = "objective"

# Parts this draw from those of the trials, whose numbers stand in this place.
_SHIFTED: Final = 0x51F7ED51
_BLOCK: Final = 1000  # images at a time


def has_objective(config: StudyConfig) -> bool:
    """Says whether trials are judged by another figure than their loss or accuracy on the validation images.

    It may be a mean over plain and shifted images, or a loss after a temperature.
    """
    return bool(config.validation_shift) or config.metric == "val_calibrated_loss"


def reported(config: StudyConfig, trial: AnyTrial | None = None) -> str:
    """Returns the name of what a trial reports to its study after each epoch: its metric, or its objective.

    A member of the final stage is judged once, at its end; until then it reports how well it knows the images that it
    learns from, so that it is known how far it is.
    """
    if trial is not None and is_final(trial):
        return "train_accuracy" if config.metric == "val_accuracy" else "train_loss"
    return OBJECTIVE if has_objective(config) else config.metric


def shifted_images(validation: Split, shift: int, study_seed: int) -> UInt8s | None:
    """Returns the validation images, each moved by up to `shift` pixels along each axis; None without a shift.

    Every trial of the study gets the same: they are drawn from its seed alone.

    Args:
        validation: the images to validate on.
        shift: the study's `validation_shift`.
        study_seed: the seed that the images were parted by.

    Shape:
        → (N, 28, 28)
    """
    if not shift:
        return None
    images, _ = validation.take()
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(study_seed, spawn_key=(_SHIFTED,))))
    translate = Translation(shift=shift).build((28, 28), _BLOCK)
    shifted = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        shifted[start : start + _BLOCK] = translate(images[start : start + _BLOCK], rng)
    return shifted
