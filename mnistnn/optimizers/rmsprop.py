"""RMSprop: AdaGrad that forgets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import OptimizerSpec, State, blocks
from mnistnn.registry import optimizer

__all__ = ["RMSprop"]


@optimizer("rmsprop")
@dataclass(frozen=True, slots=True, kw_only=True)
class RMSprop(OptimizerSpec):
    """s ← ρ s + (1 - ρ) g²; w ← w - lr · g / (√s + ε), with s = 0 at first.

    Source: Hinton, lecture 6e of his 2012 course; definition as in PyTorch, where ρ is called alpha.
    """

    vectors: ClassVar[tuple[str, ...]] = ("square_mean",)

    learning_rate: Annotated[float, FloatRange(1e-6, 0.1, log=True)] = 1e-3
    rho: Annotated[float, FloatRange(0.0, 0.9999)] = 0.99
    eps: Annotated[float, FloatRange(1e-16, 0.1, log=True)] = 1e-8

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`."""
        for params, grads, square_mean, work in blocks(arena, state["square_mean"], l2=self.weight_decay):
            np.multiply(grads, grads, out=work)
            np.multiply(work, 1 - self.rho, out=work)
            np.multiply(square_mean, self.rho, out=square_mean)
            np.add(square_mean, work, out=square_mean)
            np.sqrt(square_mean, out=work)
            np.add(work, self.eps, out=work)
            np.divide(grads, work, out=work)
            np.multiply(work, learning_rate, out=work)
            np.subtract(params, work, out=params)
