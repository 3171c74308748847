"""What every augmentation is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mnistnn.spec import Spec
from mnistnn.types import Shape, UInt8s

__all__ = ["AugmentationSpec", "Augmenter"]

Augmenter: TypeAlias = Callable[[UInt8s, np.random.Generator], UInt8s]
"""Changes images (b, H, W), b ≤ max_batch, by draws from the generator alone. Never writes what it is given; returns
its own buffer, good until its next call, or the very images where there is nothing to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSpec(Spec, ABC):
    """A Spec that builds an augmenter."""

    @abstractmethod
    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Takes the memory for the largest batch, and returns the function that does the work."""
