"""Sigmoid: a soft step from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Sigmoid", "SigmoidSpec"]


@layer("sigmoid", role="activation")
@dataclass(frozen=True, slots=True, kw_only=True)
class SigmoidSpec(LayerSpec):
    """1 / (1 + exp(-x)), computed as (1 + tanh(x / 2)) / 2, which overflows nowhere."""

    def build(self, in_shape: Shape, context: BuildContext) -> Sigmoid:
        """Builds the layer for inputs of any shape."""
        return Sigmoid(in_shape, context)


class Sigmoid(Layer):
    """See `SigmoidSpec`."""

    def __init__(self, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, in_shape)
        self._y = context.buffer(in_shape)
        self._slope = context.buffer(in_shape)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, …) → the same."""
        y = self._y[: len(x)]
        np.multiply(x, 0.5, out=y)
        np.tanh(y, out=y)
        y += 1
        y *= 0.5
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, …) → the same, in place."""
        y, slope = self._y[: len(dy)], self._slope[: len(dy)]
        np.subtract(1, y, out=slope)
        slope *= y
        dy *= slope
        return dy
