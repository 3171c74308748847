"""Scaling: the same digit, larger or smaller, wider or narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.augment._resampling import scaling_maps
from mnistnn.augment._warping import AffineSpec, Maps
from mnistnn.domains import FloatRange
from mnistnn.registry import augmentation

__all__ = ["Scaling"]


@augmentation("scaling")
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling(AffineSpec):
    """Stretch each image about its middle by 1 ± `amount`, each axis by a factor of its own."""

    amount: Annotated[float, FloatRange(0.0, 0.5)] = 0.1

    @property
    def is_idle(self) -> bool:
        """Whether every image keeps its size."""
        return self.amount == 0

    def draw(self, n: int, rng: np.random.Generator) -> Maps:
        """Draws two factors for each of `n` images."""
        down, across = rng.uniform(1 - self.amount, 1 + self.amount, (2, n))
        return scaling_maps(down, across), np.zeros((n, 2))
