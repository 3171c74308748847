"""SGD: down the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import OptimizerSpec, State, blocks
from mnistnn.registry import optimizer

__all__ = ["SGD"]


@optimizer("sgd")
@dataclass(frozen=True, slots=True, kw_only=True)
class SGD(OptimizerSpec):
    """w ← w - lr · g. Source: Robbins and Monro 1951."""

    learning_rate: Annotated[float, FloatRange(1e-4, 2.0, log=True)] = 0.1

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`."""
        for params, grads, _ in blocks(arena, l2=self.weight_decay):
            np.multiply(grads, learning_rate, out=grads)
            np.subtract(params, grads, out=params)
