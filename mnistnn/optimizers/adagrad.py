"""AdaGrad: steps that shrink with the gradients seen so far, param by param."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import OptimizerSpec, State, blocks
from mnistnn.registry import optimizer

__all__ = ["AdaGrad"]


@optimizer("adagrad")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaGrad(OptimizerSpec):
    """s ← s + g²; w ← w - lr · g / (√s + ε), with s = 0 at first.

    Source: Duchi, Hazan and Singer 2011; definition as in PyTorch.
    """

    vectors: ClassVar[tuple[str, ...]] = ("square_sum",)

    learning_rate: Annotated[float, FloatRange(1e-5, 1.0, log=True)] = 0.01
    eps: Annotated[float, FloatRange(1e-16, 0.1, log=True)] = 1e-10

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`."""
        for params, grads, square_sum, work in blocks(arena, state["square_sum"], l2=self.weight_decay):
            np.multiply(grads, grads, out=work)
            np.add(square_sum, work, out=square_sum)
            np.sqrt(square_sum, out=work)
            np.add(work, self.eps, out=work)
            np.divide(grads, work, out=work)
            np.multiply(work, learning_rate, out=work)
            np.subtract(params, work, out=params)
