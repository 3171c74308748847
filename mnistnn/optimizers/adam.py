"""Adam: momentum and RMSprop, with the bias of their start taken out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import OptimizerSpec, State, blocks
from mnistnn.registry import optimizer
from mnistnn.types import Floats

__all__ = ["Adam"]


@optimizer("adam")
@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(OptimizerSpec):
    """m ← β₁ m + (1 - β₁) g; s ← β₂ s + (1 - β₂) g²; w ← w - lr · m̂ / (√ŝ + ε).

    m = s = 0 at first; m̂ = m / (1 - β₁ᵗ) and ŝ = s / (1 - β₂ᵗ) take out the bias of that at step t.
    Source: Kingma and Ba 2015; definition as in PyTorch.
    """

    vectors: ClassVar[tuple[str, ...]] = ("mean_sum", "square_sum")

    learning_rate: Annotated[float, FloatRange(1e-6, 0.1, log=True)] = 1e-3
    beta1: Annotated[float, FloatRange(0.0, 0.999)] = 0.9
    beta2: Annotated[float, FloatRange(0.0, 0.99999)] = 0.999
    eps: Annotated[float, FloatRange(1e-16, 0.1, log=True)] = 1e-8

    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step; see `OptimizerSpec`.

        The state holds M = m / (1 - β₁) and S = s / (1 - β₂), the sums, which saves two passes. With
        c = √((1 - β₂) / (1 - β₂ᵗ)), √ŝ = c √S: so w ← w - lr / c · (1 - β₁) / (1 - β₁ᵗ) · M / (√S + ε / c).
        """
        to_root = math.sqrt((1 - self.beta2) / (1 - self.beta2**step))
        numbers = (
            self.beta1,
            self.beta2,
            self.eps / to_root,
            learning_rate / to_root * (1 - self.beta1) / (1 - self.beta1**step),
        )
        # As arrays, for NumPy makes one of a Python number at each call, which takes as long as 4,000 products.
        beta1, beta2, eps, factor = (np.asarray(number, arena.dtype) for number in numbers)
        vectors = state["mean_sum"], state["square_sum"]
        for params, grads, mean_sum, square_sum, work in self._blocks(arena, *vectors, learning_rate=learning_rate):
            np.multiply(mean_sum, beta1, out=mean_sum)
            np.add(mean_sum, grads, out=mean_sum)
            np.multiply(grads, grads, out=work)
            np.multiply(square_sum, beta2, out=square_sum)
            np.add(square_sum, work, out=square_sum)
            np.sqrt(square_sum, out=work)
            np.add(work, eps, out=work)
            np.divide(mean_sum, work, out=work)
            np.multiply(work, factor, out=work)
            np.subtract(params, work, out=params)

    def _blocks(self, arena: Arena, *vectors: Floats, learning_rate: float) -> Iterator[tuple[Floats, ...]]:
        """Yields the blocks with weight decay in the grads."""
        return blocks(arena, *vectors, l2=self.weight_decay)
