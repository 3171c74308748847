"""Nesterov momentum: the gradient, corrected by where the ball is about to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnistnn.arena import Arena
from mnistnn.optimizers._base import State, blocks
from mnistnn.optimizers.momentum import Momentum
from mnistnn.registry import optimizer

__all__ = ["Nesterov"]


@optimizer("nesterov")
@dataclass(frozen=True, slots=True, kw_only=True)
class Nesterov(Momentum):
    """v ← μ v + g; w ← w - lr · (g + μ v), with v = 0 at first.

    Source: Nesterov 1983, in the form of Sutskever et al. 2013; definition as in PyTorch.
    """

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`."""
        for params, grads, velocity, work in blocks(arena, state["velocity"], l2=self.weight_decay):
            np.multiply(velocity, self.momentum, out=velocity)
            np.add(velocity, grads, out=velocity)
            np.multiply(velocity, self.momentum, out=work)
            np.add(work, grads, out=work)
            np.multiply(work, learning_rate, out=work)
            np.subtract(params, work, out=params)
