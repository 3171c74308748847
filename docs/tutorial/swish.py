"""Swish: x times its own sigmoid, a ReLU with a soft knee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.domains import FloatRange
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Swish", "SwishSpec"]


@layer("swish", role="activation")
@dataclass(frozen=True, slots=True, kw_only=True)
class SwishSpec(LayerSpec):
    """x · sigmoid(sharpness · x). Source: Ramachandran et al. 2017."""

    sharpness: Annotated[float, FloatRange(0.1, 10.0)] = 1.0

    def build(self, in_shape: Shape, context: BuildContext) -> Swish:
        """Builds the layer for inputs of any shape."""
        return Swish(self.sharpness, in_shape, context)


class Swish(Layer):
    """See `SwishSpec`."""

    def __init__(self, sharpness: float, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, in_shape)
        self._sharpness = sharpness
        self._y = context.buffer(in_shape)
        self._sigmoid = context.buffer(in_shape)
        self._slope = context.buffer(in_shape)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, …) → the same."""
        y, sigmoid = self._y[: len(x)], self._sigmoid[: len(x)]
        np.multiply(x, self._sharpness / 2, out=sigmoid)
        np.tanh(sigmoid, out=sigmoid)  # the sigmoid by way of tanh, which overflows nowhere
        sigmoid += 1
        sigmoid *= 0.5
        np.multiply(x, sigmoid, out=y)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, …) → the same, in place."""
        y, sigmoid, slope = self._y[: len(dy)], self._sigmoid[: len(dy)], self._slope[: len(dy)]
        np.subtract(1, sigmoid, out=slope)  # dy/dx = σ + sharpness · y · (1 - σ)
        slope *= y
        slope *= self._sharpness
        slope += sigmoid
        dy *= slope
        return dy
