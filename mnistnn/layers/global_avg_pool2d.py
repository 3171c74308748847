"""GlobalAvgPool2D: each channel's mean over the whole map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["GlobalAvgPool2D", "GlobalAvgPool2DSpec"]


@layer("global_avg_pool2d")
@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAvgPool2DSpec(LayerSpec):
    """Bring a map to one number a channel, its mean: what follows is smaller than after flatten by the map's pixels.

    Source: Lin, Chen and Yan 2014, "Network in network".
    """

    def build(self, in_shape: Shape, context: BuildContext) -> GlobalAvgPool2D:
        """Builds the layer for maps."""
        if len(in_shape) != 3:
            raise SpecError(f"a map's mean must be of a map, but got {in_shape}; put it in the place of flatten.")
        return GlobalAvgPool2D(in_shape, context)


class GlobalAvgPool2D(Layer):
    """See `GlobalAvgPool2DSpec`."""

    def __init__(self, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, in_shape[2:])
        self._share = 1 / (in_shape[0] * in_shape[1])
        self._y, self._dx = context.buffer(self.out_shape), context.buffer(in_shape)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, C)."""
        y = self._y[: len(x)]
        np.add.reduce(x, axis=(1, 2), out=y)
        y *= self._share
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, C), overwritten → (B, H, W, C)."""
        dx = self._dx[: len(dy)]
        dy *= self._share
        dx[...] = dy[:, None, None]
        return dx
