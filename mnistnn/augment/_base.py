"""What every augmentation is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, TypeAlias

import numpy as np

from mnistnn.spec import Spec
from mnistnn.types import Shape, UInt8s

__all__ = ["AugmentationSpec", "Augmenter", "Stage"]

Augmenter: TypeAlias = Callable[[UInt8s, np.random.Generator], UInt8s]
"""Changes images (b, H, W), b ≤ max_batch, by draws from the generator alone. Never writes what it is given; returns
its own buffer, good until its next call, or the very images where there is nothing to change."""


class Stage(IntEnum):
    """When something happens to a digit, and so in which order augmentations apply, whatever order they are given in.

    A pen has its width while it writes, the sheet is moved with what is written on it, something lies on the sheet, and
    the grain is the camera's.
    """

    PEN = 0
    SHEET = 1
    COVER = 2
    CAMERA = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSpec(Spec, ABC):
    """A Spec that builds an augmenter.

    Attributes:
        stage: when it applies.
        stays: whether a study that has it has it in all of its trials; else a trial may do without (`use`).
    """

    stage: ClassVar[Stage] = Stage.SHEET
    stays: ClassVar[bool] = False

    @property
    def is_idle(self) -> bool:
        """Whether its values are such that it changes nothing."""
        return False

    @abstractmethod
    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Takes the memory for the largest batch, and returns the function that does the work."""
