"""AdaDelta: steps in the units of the params, from the sizes of past steps and gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import OptimizerSpec, State, blocks
from mnistnn.registry import optimizer

__all__ = ["AdaDelta"]


@optimizer("adadelta")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaDelta(OptimizerSpec):
    """s ← ρ s + (1 - ρ) g²; d = g √(u + ε) / √(s + ε); u ← ρ u + (1 - ρ) d²; w ← w - lr · d, with s = u = 0 at first.

    Source: Zeiler 2012; definition as in PyTorch.
    """

    vectors: ClassVar[tuple[str, ...]] = ("square_mean", "step_mean")

    learning_rate: Annotated[float, FloatRange(1e-3, 10.0, log=True)] = 1.0
    rho: Annotated[float, FloatRange(0.0, 0.9999)] = 0.9
    eps: Annotated[float, FloatRange(1e-16, 0.1, log=True)] = 1e-6

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`."""
        vectors = state["square_mean"], state["step_mean"]
        for params, grads, square_mean, step_mean, work in blocks(arena, *vectors, l2=self.weight_decay):
            np.multiply(grads, grads, out=work)
            np.multiply(work, 1 - self.rho, out=work)
            np.multiply(square_mean, self.rho, out=square_mean)
            np.add(square_mean, work, out=square_mean)
            np.add(square_mean, self.eps, out=work)
            np.sqrt(work, out=work)
            np.divide(grads, work, out=grads)
            np.add(step_mean, self.eps, out=work)
            np.sqrt(work, out=work)
            np.multiply(grads, work, out=grads)  # d
            np.multiply(grads, grads, out=work)
            np.multiply(work, 1 - self.rho, out=work)
            np.multiply(step_mean, self.rho, out=step_mean)
            np.add(step_mean, work, out=step_mean)
            np.multiply(grads, learning_rate, out=grads)
            np.subtract(params, grads, out=params)
