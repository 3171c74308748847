"""MaxPool2D: the largest number of each small square."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.domains import IntRange
from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["MaxPool2D", "MaxPool2DSpec"]


@layer("max_pool2d", role="pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool2DSpec(LayerSpec):
    """Keep the maximum of each size × size square; rows and columns that fill no square are left out."""

    size: Annotated[int, IntRange(2, 4)] = 2

    def build(self, in_shape: Shape, context: BuildContext) -> MaxPool2D:
        """Builds the layer for maps that hold at least one square."""
        if len(in_shape) != 3 or min(in_shape[:2]) < self.size:
            raise SpecError(
                f"a map to pool must be at least {self.size} pixels a side, but got {in_shape}; pool less often."
            )
        return MaxPool2D(self.size, in_shape, context)


class MaxPool2D(Layer):
    """See `MaxPool2DSpec`. Where several are largest, the first in reading order gets the gradient, as in PyTorch."""

    def __init__(self, size: int, in_shape: Shape, context: BuildContext) -> None:
        height, width, channels = in_shape
        super().__init__(in_shape, (height // size, width // size, channels))
        self.size = size
        self._y = context.buffer(self.out_shape)
        self._dx = context.buffer(in_shape)
        self._free = context.buffer(self.out_shape, np.bool_)
        self._hit = context.buffer(self.out_shape, np.bool_)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H // size, W // size, C)."""
        if train:
            self._x = x
        y = self._y[: len(x)]
        corners = self._corners(x)
        np.maximum(next(corners), next(corners), out=y)
        for corner in corners:
            np.maximum(y, corner, out=y)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H // size, W // size, C) → (B, H, W, C)."""
        n = len(dy)
        y, dx, free, hit = self._y[:n], self._dx[:n], self._free[:n], self._hit[:n]
        rows, columns = self.out_shape[0] * self.size, self.out_shape[1] * self.size
        dx[:, rows:] = 0
        dx[:, :, columns:] = 0
        free[...] = True
        for corner, dcorner in zip(self._corners(self._x), self._corners(dx), strict=True):
            np.equal(corner, y, out=hit)
            hit &= free
            free ^= hit
            np.multiply(dy, hit, out=dcorner)
        return dx

    def _corners(self, x: Floats) -> Iterator[Floats]:
        """Yields, for each place in a square in reading order, the numbers of all squares that stand there."""
        rows, columns = self.out_shape[0] * self.size, self.out_shape[1] * self.size
        for i in range(self.size):
            for j in range(self.size):
                yield x[:, i : rows : self.size, j : columns : self.size]
