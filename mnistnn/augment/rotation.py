"""Rotation: the same digit, on a sheet that lay askew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.augment._resampling import rotation_maps
from mnistnn.augment._warping import AffineSpec, Maps
from mnistnn.domains import FloatRange
from mnistnn.registry import augmentation

__all__ = ["Rotation"]


@augmentation("rotation")
@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation(AffineSpec):
    """Turn each image about its middle by up to `degrees` either way, every angle equally likely."""

    degrees: Annotated[float, FloatRange(0.0, 45.0)] = 10.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing turns."""
        return self.degrees == 0

    def draw(self, n: int, rng: np.random.Generator) -> Maps:
        """Draws an angle for each of `n` images."""
        return rotation_maps(rng.uniform(-self.degrees, self.degrees, n)), np.zeros((n, 2))
