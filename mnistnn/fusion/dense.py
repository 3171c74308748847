"""A first dense layer that leaves out the pixels that are blank in the whole batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mnistnn.layer import BuildContext, Layer
from mnistnn.layers.dense import Dense
from mnistnn.layers.input import Input
from mnistnn.types import Floats, Images

__all__ = ["FusedInputDense", "fuse_input"]

# Where picking pixels and their weights costs less than the products that it saves: measured.
_FEWEST_UNITS: Final = 64
_FEWEST_IMAGES: Final = 64
_LARGEST_SHARE: Final = 0.8


def fuse_input(layers: Sequence[Layer], context: BuildContext) -> FusedInputDense | None:
    """Returns what does the work of a net's first two layers, if they are an Input and a Dense and it is faster."""
    match layers:
        case [Input(offset=0) as scaling, Dense() as dense, *_] if math.prod(dense.out_shape) >= _FEWEST_UNITS:
            return FusedInputDense(scaling, dense, context)
    return None  # with an offset a blank pixel is no zero


class FusedInputDense(Layer):
    """Input and Dense on the latter's params; while training, with the pixels alone that have ink in some image.

    A third of MNIST's pixels is blank in any hundred images. What they would add to the output is zero, and so is the
    gradient of their weights: the products are made of the other pixels' columns and weights, picked for each batch.
    """

    def __init__(self, scaling: Input, dense: Dense, context: BuildContext) -> None:
        super().__init__(scaling.in_shape, dense.out_shape)
        self.macs, self.params = dense.macs, dense.params
        self._weight, self._bias, self._factor = dense.weight, dense.bias, scaling.factor
        pixels, units = dense.weight.shape
        self._x = context.buffer((pixels,)).reshape(-1)
        self._bytes = context.buffer((pixels,), np.uint8).reshape(-1)
        self._picked = context.scratch((pixels, units))  # weights on the way forward, their gradient on the way back
        self._y = context.buffer(self.out_shape)
        self._ones = np.ones(context.max_batch, context.arena.dtype)
        self._inked: NDArray[Any] | None = None

    def forward(self, x: Images, *, train: bool) -> Floats:
        """Shape: x: (B, H, W) → (B, units)."""
        pixels = x.reshape(len(x), -1)
        inked = _inked(pixels) if train else None
        weight = self._weight.value
        if inked is not None:
            picked = self._bytes[: len(x) * inked.size].reshape(len(x), -1)
            # Indices are in range; with any other mode `out` would be filled by way of a copy.
            pixels = np.take(pixels, inked, axis=1, out=picked, mode="clip")
            weight = np.take(weight, inked, axis=0, out=self._picked[: inked.size], mode="clip")
        rows = self._x[: pixels.size].reshape(pixels.shape)
        np.copyto(rows, pixels, casting="same_kind")
        rows *= self._factor
        if train:
            self._rows, self._inked = rows, inked
        y = self._y[: len(x)]
        np.matmul(rows, weight, out=y)
        if self._bias is not None:
            y += self._bias.value
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, units); what it returns means nothing, for nothing below it learns."""
        if self._bias is not None:
            np.matmul(self._ones[: len(dy)], dy, out=self._bias.grad)
        if self._inked is None:
            np.matmul(self._rows.T, dy, out=self._weight.grad)
        else:
            picked = np.matmul(self._rows.T, dy, out=self._picked[: self._inked.size])
            self._weight.grad[...] = 0
            self._weight.grad[self._inked] = picked
        return dy


def _inked(pixels: NDArray[Any]) -> NDArray[np.intp] | None:
    """Returns the columns that are not blank in all images, or None where it does not pay to pick them."""
    if pixels.dtype != np.uint8 or len(pixels) < _FEWEST_IMAGES:
        return None
    inked = np.flatnonzero(np.bitwise_or.reduce(pixels, axis=0))
    return inked if inked.size <= _LARGEST_SHARE * pixels.shape[1] else None
