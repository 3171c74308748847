"""How weights begin."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from mnistnn.types import Floats

__all__ = ["INITIALISERS", "draw_weights"]

INITIALISERS: Final = {"he": 2.0, "lecun": 1.0}
"""The variance of a weight times its fan-in, by name. Sources: He et al. 2015 (ReLU); LeCun et al. 1998 (sigmoid)."""


def draw_weights(weight: Floats, init: str, scale: float, rng: np.random.Generator) -> None:
    """Fills `weight` from a normal distribution.

    Args:
        weight: the last axis is the outputs; all others together are the fan-in.
        init: "he" or "lecun".
        scale: multiplies the standard deviation.
        rng: draws in float64, so that float32 and float64 nets of one seed begin alike.
    """
    fan_in = math.prod(weight.shape[:-1])
    weight[...] = rng.standard_normal(weight.shape) * (scale * math.sqrt(INITIALISERS[init] / fan_in))
