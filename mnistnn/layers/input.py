"""Input: pixels to floats in the shape that the net wants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from mnistnn.domains import Choice, FloatRange
from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Images, Shape

__all__ = ["Input", "InputSpec"]


@layer("input")
@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec(LayerSpec):
    """Bring images in pixel units, 0 to 255, to `shape`, and to numbers of about 1.

    `scaling` is "unit" (0 to 1), "standard" (by `mean` and `std` of the pixels) or "none" (as they are).
    """

    shape: Shape = (28, 28, 1)
    scaling: Annotated[str, Choice("unit", "standard", "none")] = "unit"
    mean: Annotated[float, FloatRange(0.0, 255.0)] = 33.3
    std: Annotated[float, FloatRange(1.0, 255.0)] = 78.6

    def build(self, in_shape: Shape, context: BuildContext) -> Input:
        """Builds the layer; the shape must hold as many pixels as an image."""
        shape: Any = self.shape  # as a file may have it
        whole = isinstance(shape, tuple) and all(isinstance(size, int) and size > 0 for size in shape)
        if not whole or math.prod(in_shape) != math.prod(shape):
            raise SpecError(f"the input's shape must hold an image of {in_shape}, but got shape={self.shape!r}.")
        scale, offset = {"unit": (255.0, 0.0), "standard": (self.std, self.mean), "none": (1.0, 0.0)}[self.scaling]
        return Input(in_shape, tuple(self.shape), context, scale, offset)


class Input(Layer):
    """See `InputSpec`."""

    def __init__(self, in_shape: Shape, out_shape: Shape, context: BuildContext, scale: float, offset: float) -> None:
        super().__init__(in_shape, out_shape)
        self.factor, self.offset = 1 / scale, -offset / scale
        self._y = context.buffer(out_shape)

    def forward(self, x: Images, *, train: bool) -> Floats:
        """Scales; `x` may be uint8 or float, in pixel units."""
        y = self._y[: len(x)]
        np.copyto(y, x.reshape(y.shape), casting="same_kind")  # a product with bytes would cast by way of a buffer
        y *= self.factor
        if self.offset:
            y += self.offset
        return y

    def backward(self, dy: Floats) -> Floats:
        """Returns the gradient by the pixels."""
        dy *= self.factor
        return dy.reshape(len(dy), *self.in_shape)
