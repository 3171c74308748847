"""Elastic distortion: the same digit, by a less steady hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.augment._warping import BendSpec
from mnistnn.domains import FloatRange
from mnistnn.registry import augmentation
from mnistnn.types import Floats

__all__ = ["Elastic"]

_REACH = 3  # in sigmas: a bump farther off than that does nothing


@augmentation("elastic")
@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic(BendSpec):
    """Displace each pixel by a random field that is smooth over `sigma` pixels, `amount` pixels strong on each axis.

    The field is uniform noise under a Gaussian of width `sigma`, and its strength is its standard deviation. The noise
    is drawn `sigma` pixels apart, for what lies closer is smoothed away: the deviation is then the same everywhere, but
    for one part in ten thousand.

    Units: pixels.

    Source: Simard, Steinkraus and Platt 2003, whose sigma of 4 and alpha of 34 come to an amount of 1.4.
    """

    amount: Annotated[float, FloatRange(0.0, 2.0)] = 1.0
    sigma: Annotated[float, FloatRange(3.0, 8.0)] = 4.0

    @property
    def is_idle(self) -> bool:
        """Whether every pixel stays where it is."""
        return self.amount == 0

    def basis(self, side: int) -> Floats:
        """Returns the Gaussian bumps at which the noise stands. Shape: (side, m)."""
        count = math.ceil((side - 1) / self.sigma) + 2 * _REACH + 1
        centres = (side - 1) / 2 + self.sigma * (np.arange(count) - (count - 1) / 2)
        return np.exp(-0.5 * ((np.arange(side)[:, None] - centres) / self.sigma) ** 2)

    def draw(self, coefs: Floats, rng: np.random.Generator) -> None:
        """Draws the height of each bump. Shape: (2, rows' m, n, columns' m)."""
        rng.random(out=coefs, dtype=np.float32)
        coefs -= 0.5
        # Squares of bumps one sigma apart add up to √π on an axis, to π on both; uniform noise has a variance of 1/12.
        coefs *= self.amount * math.sqrt(12 / math.pi)
