"""Shear: the same digit, in a hand that slants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.augment._resampling import shear_maps
from mnistnn.augment._warping import AffineSpec, Maps
from mnistnn.domains import FloatRange
from mnistnn.registry import augmentation

__all__ = ["Shear"]


@augmentation("shear")
@dataclass(frozen=True, slots=True, kw_only=True)
class Shear(AffineSpec):
    """Slant each image by up to `amount` columns a row, to either side; the middle row stays."""

    amount: Annotated[float, FloatRange(0.0, 0.5)] = 0.1

    @property
    def is_idle(self) -> bool:
        """Whether every image stays upright."""
        return self.amount == 0

    def draw(self, n: int, rng: np.random.Generator) -> Maps:
        """Draws a slant for each of `n` images."""
        return shear_maps(rng.uniform(-self.amount, self.amount, n)), np.zeros((n, 2))
