"""Convolution, ReLU and pool, or add, as one step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.fusion.chunk_conv import ChunkConv
from mnistnn.fusion.input_conv import InputConv
from mnistnn.fusion.pool import ChunkPool
from mnistnn.fusion.windows import WindowConv
from mnistnn.fusion.winograd import WinogradConv
from mnistnn.im2col import chunks
from mnistnn.layer import BuildContext, Layer, Shortcut
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.types import Floats, Shape

__all__ = ["FusedConv"]

# Channels from which on Winograd's transforms cost less than they save.
_WINOGRAD_CHANNELS = 8


def chunk_conv(conv: Conv2D, context: BuildContext, used: Shape, *, squares: bool) -> ChunkConv:
    """Returns the fastest convolution of chunks; `squares` says that squares of four will be asked of its maps."""
    if InputConv.suits(conv):
        return InputConv(conv, context, used, squares=squares)
    if conv.kernel == 3 and min(conv.in_shape[2], conv.out_shape[2]) >= _WINOGRAD_CHANNELS:
        return WinogradConv(conv, context, used, squares=squares)
    return WindowConv(conv, context, used, squares=squares)


class FusedConv(Layer):
    """Conv2D, ReLU and a 2×2 MaxPool2D or none, on the params of the Conv2D.

    Given a shortcut it does its Add's work too, before the ReLU, and has no pool.
    """

    def __init__(
        self, conv: Conv2D, pool: MaxPool2D | None, context: BuildContext, shortcut: Shortcut | None = None
    ) -> None:
        super().__init__(conv.in_shape, conv.out_shape if pool is None else pool.out_shape)
        self.macs, self.params = conv.macs, conv.params
        self._conv = conv
        self._filters = conv.out_shape[2]
        self._products = chunk_conv(conv, context, self._used(), squares=pool is not None)
        self._chunk = n = self._products.chunk
        self._pool = ChunkPool(self.out_shape, n, context) if pool else None
        self._take_maps(context)
        self._y = context.buffer(self.out_shape)
        self._workspace = context.workspace
        context.reserve("zeros", n * math.prod(self.out_shape))
        context.workspace["zeros"][...] = 0  # and nobody writes there: NumPy's maximum with a number is a slow one
        context.reserve("positive", self._y.size, np.bool_)
        # One number a channel, repeated along a row of the output: long inner loops for NumPy.
        self._row = context.scratch((self.out_shape[1] * self._filters,))
        self._ones = np.ones(context.max_batch * conv.out_shape[0], context.arena.dtype)
        if conv.input_grad:
            self._dx = context.buffer(conv.in_shape)
        self._shortcut = shortcut
        if shortcut:
            shortcut.dy = context.buffer(self.out_shape)  # in the place of the plain layer's

    def _used(self) -> Shape:
        """Returns how many rows and columns of the maps are looked at: a pool leaves out what fills no square."""
        height, width, _ = self.out_shape
        pooled = self.out_shape != self._conv.out_shape
        return (2 * height, 2 * width) if pooled else (height, width)

    def _take_maps(self, context: BuildContext) -> None:
        """Takes memory for the maps."""
        context.reserve("maps", self._chunk * self._products.map_size)

    def _maps_of(self, images: slice) -> Floats:
        """Returns the memory for the maps of a chunk."""
        return self._workspace["maps"][: (images.stop - images.start) * self._products.map_size]

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        bias = None if self._conv.bias is None else self._conv.bias.value
        return self._forward(x, self._conv.weight.value, bias, train=train)

    def _forward(self, x: Floats, weight: Floats, bias: NDArray[Any] | None, *, train: bool) -> Floats:
        if train:
            self._x = x
        y = self._y[: len(x)]
        self._products.set_weight(weight)
        row = None if bias is None else self._repeat(bias, self._row)
        for images in chunks(len(x), self._chunk):
            maps = self._maps_of(images if train else slice(0, images.stop - images.start))
            self._convolve(x[images], maps, images if train else None)
            for half, (result, out) in enumerate(self._results(maps, y[images], images, train=train)):
                if row is not None:
                    rows = result.reshape(-1, len(row))
                    rows += row
                if self._shortcut:
                    result += self._shortcut.added()[images, half::2].transpose(1, 0, 2, 3)
                np.maximum(result, self._zeros(result), out=out)
        return y

    def _convolve(self, x: Floats, maps: Floats, images: slice | None) -> None:
        """Writes the maps of a chunk; see `ChunkConv.forward`."""
        self._products.forward(x, maps, images)

    def _zeros(self, like: Floats) -> Floats:
        """Returns zeros of that shape."""
        zeros: Floats = self._workspace["zeros"][: like.size].reshape(like.shape)
        return zeros

    def _results(self, maps: Floats, y: Floats, images: slice, *, train: bool) -> list[tuple[Floats, Floats]]:
        """Returns the maps of a chunk, or their maxima, in parts, and where each belongs in `y`.

        Shape:
            maps: (n · map_size,); y: (n, H', W', filters) → each twice (rows, n, W', filters)
        """
        y = y.transpose(1, 0, 2, 3)
        if self._pool:
            return [(self._pool.forward(self._products.corners(maps), images, train=train), y)]
        even, odd = self._products.even_odd(maps)
        return [(even, y[::2]), (odd, y[1::2])]

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters), overwritten → (B, H, W, C)."""
        self._through_relu(dy)
        if self._conv.bias is not None:
            self._sum(dy, self._row, self._conv.bias.grad)
        return self._backward(dy, self._conv.weight.value)

    def _through_relu(self, dy: Floats) -> None:
        positive = self._workspace["positive"][: dy.size].reshape(dy.shape)
        np.greater(self._y[: len(dy)], 0, out=positive)
        np.multiply(dy, positive, out=dy)
        if self._shortcut:
            self._shortcut.keep(dy)

    def _backward(self, dy: Floats, weight: Floats) -> Floats:
        """Sets the weights' grads from the gradient by the pooled map, and returns that by the input."""
        conv, products = self._conv, self._products
        if conv.input_grad:
            products.set_turned_weight(weight)
        for images in chunks(len(dy), self._chunk):
            self._unpool(dy[images], images)
            products.add_weight_gradient(self._x[images], images)
            if conv.input_grad:
                products.input_gradient(self._dx[images])
        products.weight_gradient(conv.weight.grad)
        return self._dx[: len(dy)] if conv.input_grad else dy

    def _unpool(self, dy: Floats, images: slice) -> None:
        """Writes the gradient by the convolution's maps. Shape: dy: (n, H', W', filters)."""
        if self._pool:
            self._pool.backward(dy, self._products.gradient_corners(len(dy)), images)
            return
        for i, half in enumerate(self._products.gradient_even_odd(len(dy))):
            half[...] = dy[:, i::2].transpose(1, 0, 2, 3)

    def _repeat(self, channels: NDArray[Any], row: Floats) -> Floats:
        """Writes one number a channel along all of `row`, and returns it."""
        row.reshape(-1, self._filters)[...] = channels
        return row

    def _sum(self, maps: Floats, row: Floats, out: NDArray[Any]) -> None:
        """Sums over everything but the channels; `row`, of a map's row, is overwritten."""
        rows = maps.reshape(-1, len(row))
        np.matmul(self._ones[: len(rows)], rows, out=row)
        np.sum(row.reshape(-1, self._filters), axis=0, out=out)
