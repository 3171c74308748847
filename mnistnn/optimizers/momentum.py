"""Momentum SGD: a heavy ball."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import OptimizerSpec, State, blocks
from mnistnn.registry import optimizer

__all__ = ["Momentum"]


@optimizer("momentum")
@dataclass(frozen=True, slots=True, kw_only=True)
class Momentum(OptimizerSpec):
    """v ← μ v + g; w ← w - lr · v, with v = 0 at first. Source: Polyak 1964; definition as in PyTorch."""

    vectors: ClassVar[tuple[str, ...]] = ("velocity",)

    learning_rate: Annotated[float, FloatRange(1e-5, 1.0, log=True)] = 0.02
    momentum: Annotated[float, FloatRange(0.0, 0.999)] = 0.9

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`."""
        for params, grads, velocity, work in blocks(arena, state["velocity"], l2=self.weight_decay):
            np.multiply(velocity, self.momentum, out=velocity)
            np.add(velocity, grads, out=velocity)
            np.multiply(velocity, learning_rate, out=work)
            np.subtract(params, work, out=params)
