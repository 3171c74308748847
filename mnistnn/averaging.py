"""The moving average of a network's weights over the steps of its training."""

from __future__ import annotations

import numpy as np

from mnistnn.arena import Arena
from mnistnn.optimizers import blocks

__all__ = ["MovingAverage"]


class MovingAverage:
    """w̄ ← d w̄ + (1 - d) w after step t, with d = min(decay, (1 + t) / (10 + t)).

    It begins as the first weights, which are thereby soon forgotten. Source: Polyak and Juditsky 1992; decay and
    warm-up as in TensorFlow's `ExponentialMovingAverage`.

    Args:
        arena: of the network.
        decay: d in the long run; 1 / (1 - d) steps count most.

    Attributes:
        params: w̄, as long as the arena's params.
    """

    def __init__(self, arena: Arena, decay: float) -> None:
        self.params = arena.params.copy()
        self._arena, self._decay = arena, decay

    def update(self, step: int) -> None:
        """Takes in the params as step `step`, counted from 1, left them: one pass, without new memory."""
        decay = min(self._decay, (1 + step) / (10 + step))
        share = np.asarray(1 - decay, self._arena.dtype)  # NumPy would make an array of a number at each call
        for params, _, average, work in blocks(self._arena, self.params):
            np.subtract(params, average, out=work)
            np.multiply(work, share, out=work)
            np.add(average, work, out=average)
