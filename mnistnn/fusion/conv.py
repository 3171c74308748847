"""Convolution, ReLU and pool as one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.fusion.pool import ChunkPool
from mnistnn.fusion.taps import Taps, add_products
from mnistnn.im2col import chunks
from mnistnn.layer import BuildContext, Layer
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.types import Floats, Shape

__all__ = ["FusedConv"]

# What the largest array of a chunk takes: measured, from 128 kB to 2 MB, on nets of one to three blocks.
_CHUNK_BYTES = 1 << 21


class FusedConv(Layer):
    """Conv2D, ReLU and a 2×2 MaxPool2D or none, on the params of the Conv2D."""

    def __init__(self, conv: Conv2D, pool: MaxPool2D | None, context: BuildContext) -> None:
        super().__init__(conv.in_shape, conv.out_shape if pool is None else pool.out_shape)
        self.macs, self.params = conv.macs, conv.params
        self._conv = conv
        height, width, self._filters = conv.out_shape
        channels, k = conv.in_shape[2], conv.kernel
        itemsize = context.arena.dtype.itemsize
        largest = height * width * max(k * max(channels, self._filters if conv.input_grad else 0), 2 * self._filters)
        self._chunk = n = max(1, min(context.max_batch, _CHUNK_BYTES // (largest * itemsize)))
        self._taps = Taps(context, conv.in_shape, k, conv.padding, n)
        self._pool = ChunkPool(self.out_shape, n, context) if pool else None
        self._maps = context.scratch((height * n * width * self._filters,))
        self._part = context.scratch((height * n * width * self._filters,))
        self._dmaps = context.scratch((height * n * width * self._filters,))
        self._y = context.buffer(self.out_shape)
        self._positive = context.buffer(self.out_shape, np.bool_)
        self._dweight = context.scratch((k * k * channels, self._filters))
        # One number a channel, repeated along a row of the output or of the map: long inner loops for NumPy.
        self._row = context.scratch((self.out_shape[1] * self._filters,))
        self._map_row = context.scratch((width * self._filters,))
        self._ones = np.ones(context.max_batch * height, context.arena.dtype)
        if conv.input_grad:
            self._dmap_taps = Taps(context, conv.out_shape, k, k - 1 - conv.padding, n)
            self._turned = context.scratch((k, k, self._filters, channels))
            rows = conv.in_shape[0] * n * conv.in_shape[1]
            self._dx_sum, self._dx_part = context.scratch((2, rows, channels))
            self._dx = context.buffer(conv.in_shape)

    def _chunks(self, count: int) -> Iterator[tuple[slice, Shape, int]]:
        """Yields the images of each chunk, the shape of their maps, and how many numbers those hold."""
        height, width, filters = self._conv.out_shape
        for images in chunks(count, self._chunk):
            n = images.stop - images.start
            yield images, (height, n, width, filters), height * n * width * filters

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        bias = None if self._conv.bias is None else self._conv.bias.value
        return self._forward(x, self._conv.weight.value.reshape(-1, self._filters), bias, train=train)

    def _forward(self, x: Floats, weight: Floats, bias: NDArray[Any] | None, *, train: bool) -> Floats:
        if train:
            self._x = x
        y = self._y[: len(x)]
        for images, shape, size in self._chunks(len(x)):
            out, maps = y[images], self._maps[:size]
            self._convolve(x[images], weight, maps)
            if self._pool:
                self._pool.forward(maps.reshape(shape), out, images, train=train)
            else:
                out[...] = maps.reshape(shape).transpose(1, 0, 2, 3)
            if bias is not None:
                rows = out.reshape(-1, len(self._row))
                rows += self._repeat(bias, self._row)
            np.maximum(out, 0, out=out)
        return y

    def _convolve(self, x: Floats, weight: Floats, maps: Floats) -> None:
        rows = maps.reshape(-1, self._filters)
        add_products(self._taps.of(x), weight, rows, self._part[: maps.size].reshape(rows.shape))

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters), overwritten → (B, H, W, C)."""
        self._through_relu(dy)
        if self._conv.bias is not None:
            self._sum(dy, self._row, self._conv.bias.grad)
        return self._backward(dy)

    def _through_relu(self, dy: Floats) -> None:
        positive = np.greater(self._y[: len(dy)], 0, out=self._positive[: len(dy)])
        np.multiply(dy, positive, out=dy)

    def _backward(self, dy: Floats) -> Floats:
        """Sets the weights' grads from the gradient by the pooled map, and returns that by the input."""
        conv = self._conv
        grad = conv.weight.grad.reshape(-1, self._filters)
        grad[...] = 0
        self._dmaps[...] = 0  # rows and columns that fill no square get no gradient
        if conv.input_grad:
            self._turned[...] = self._weight_used()[::-1, ::-1].transpose(0, 1, 3, 2)
        for images, shape, size in self._chunks(len(dy)):
            dmaps = self._dmaps[:size].reshape(shape)
            self._unpool(dy[images], dmaps, images)
            drows = dmaps.reshape(-1, self._filters)
            for matrix, rows in self._taps.of(self._x[images]):
                np.matmul(matrix.T, drows, out=self._dweight[rows])
            grad += self._dweight
            if conv.input_grad:
                self._backward_input(dmaps, self._dx[images])
        return self._dx[: len(dy)] if conv.input_grad else dy

    def _weight_used(self) -> Floats:
        """Returns the weights that the maps were made with."""
        return self._conv.weight.value

    def _unpool(self, dy: Floats, dmaps: Floats, images: slice) -> None:
        """Writes the gradient by the convolution's maps."""
        if self._pool:
            self._pool.backward(dy, dmaps, images, add=False)
        else:
            dmaps[...] = dy.transpose(1, 0, 2, 3)

    def _backward_input(self, dmaps: Floats, dx: Floats) -> None:
        height, width, channels = self.in_shape
        size = height * len(dx) * width
        rows = self._dx_sum[:size]
        turned = self._turned.reshape(-1, channels)
        add_products(self._dmap_taps.of(dmaps.transpose(1, 0, 2, 3)), turned, rows, self._dx_part[:size])
        dx[...] = rows.reshape(height, len(dx), width, channels).transpose(1, 0, 2, 3)

    def _repeat(self, channels: NDArray[Any], row: Floats) -> Floats:
        """Writes one number a channel along all of `row`, and returns it."""
        row.reshape(-1, self._filters)[...] = channels
        return row

    def _sum(self, maps: Floats, row: Floats, out: NDArray[Any]) -> None:
        """Sums over everything but the channels; `row`, of a map's row, is overwritten."""
        rows = maps.reshape(-1, len(row))
        np.matmul(self._ones[: len(rows)], rows, out=row)
        np.sum(row.reshape(-1, self._filters), axis=0, out=out)
