"""Dropout: a part of the inputs left out at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.domains import FloatRange
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Dropout", "DropoutSpec"]


@layer("dropout")
@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutSpec(LayerSpec):
    """Zero each input with probability `rate` while training, and scale the others by 1 / (1 - rate).

    Inference is the identity. Source: Srivastava et al. 2014, in its inverted form.
    """

    rate: Annotated[float, FloatRange(0.0, 0.9)] = 0.2

    def build(self, in_shape: Shape, context: BuildContext) -> Dropout:
        """Builds the layer for inputs of any shape."""
        return Dropout(self.rate, in_shape, context)


class Dropout(Layer):
    """See `DropoutSpec`. Draws from its own generator."""

    def __init__(self, rate: float, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, in_shape)
        self._rate = rate
        self._scale = 1 / (1 - rate)
        self.rng = self._generator = np.random.Generator(np.random.SFC64(context.seed))  # the fastest that NumPy has
        self._y = context.buffer(in_shape)
        self._draws = context.buffer(in_shape, np.float32)
        self._kept = context.buffer(in_shape, np.bool_)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, …) → the same."""
        if not train:
            return x
        n = len(x)
        draws, y = self._draws[:n], self._y[:n]
        self._generator.random(dtype=np.float32, out=draws)
        kept = np.greater_equal(draws, self._rate, out=self._kept[:n])
        np.multiply(x, self._scale, out=y)
        np.multiply(y, kept, out=y)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, …) → the same, in place."""
        dy *= self._scale
        np.multiply(dy, self._kept[: len(dy)], out=dy)
        return dy
