"""Saturation: whether what reaches a network's sigmoids lies where they still have a slope, or even overflows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mnistnn.layers.sigmoid import Sigmoid
from mnistnn.network import Network
from mnistnn.types import Images

__all__ = ["OVERFLOWS", "SATURATES", "Saturation", "saturation"]

#: A sigmoid's input beyond which its slope is below a hundredth of the greatest: y (1 - y) < 0.0025.
SATURATES: Final = 2 * math.atanh(math.sqrt(1 - 0.01))
#: The input below which exp(-x), as the textbook's sigmoid has it, exceeds the greatest float32.
OVERFLOWS: Final = math.log(float(np.finfo(np.float32).max))


@dataclass(frozen=True, slots=True)
class Saturation:
    """What reaches the sigmoids of a network, over all of its units and some images.

    Attributes:
        saturated: the share of inputs at which the slope is below a hundredth of its greatest: next to nothing is
            learnt through them.
        overflow: the share at which exp(-x) is beyond float32, as `1 / (1 + exp(-x))` would compute it. Ours would not.
        largest: the greatest of all, by its size. float64's exp(-x) overflows beyond 709.8.
    """

    saturated: float
    overflow: float
    largest: float


def saturation(network: Network, images: Images) -> Saturation | None:
    """Measures a network as training would see it: norms over the batch, dropouts drawing.

    It goes through the plain layers and leaves their statistics and generators changed: measure a network of its own.

    Args:
        network: the network.
        images: at most a batch of it. Shape: (B, 28, 28), in pixel units

    Returns:
        The measures; None for a network that has no sigmoid.
    """
    x: Any = images
    count, saturated, overflow, largest = 0, 0, 0, 0.0
    for built in network.layers.values():
        if isinstance(built, Sigmoid):
            count += x.size
            saturated += int(np.count_nonzero(np.abs(x) > SATURATES))
            overflow += int(np.count_nonzero(x < -OVERFLOWS))
            largest = max(largest, float(np.abs(x).max()))
        x = built.forward(x, train=True)
    return Saturation(saturated / count, overflow / count, largest) if count else None
