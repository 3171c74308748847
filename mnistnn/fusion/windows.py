"""Convolution with any kernel: a matrix product for each column, over patches that share their memory.

A map's rows are unfolded downwards only: beside each pixel lie those of the rows below it that the same patch holds.
The windows of a row of patches, k columns wide, are then stretches of this memory that overlap, and a product takes
them as they are, a matrix for each column: (rows, k · k · C) by (k · k · C, filters).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mnistnn.fusion.chunk_conv import CHUNK_BYTES, ChunkConv, interleave
from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["WindowConv"]


class WindowConv(ChunkConv):
    """See the module."""

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape, *, squares: bool) -> None:
        super().__init__(conv, context, used, squares=squares)
        (_, width, channels), k, filters = conv.in_shape, conv.kernel, self._filters
        self._kernel = k
        unfolded = 2 * self._pairs * (used[1] + k - 1) * k * channels
        dunfolded = 2 * self._in_pairs * (width + k - 1) * k * filters if conv.input_grad else 0
        largest = max(2 * self.map_size, unfolded, dunfolded)
        self.chunk = n = self._even_parts(CHUNK_BYTES // (largest * context.arena.dtype.itemsize))
        self._x = _Unfolded(context, (self._pairs, used[1], channels), k, n)
        self._weight = context.scratch((1, k * k * channels, filters))
        self._dmaps = context.scratch((n * self.map_size,))
        context.reserve("taps", used[1] * k * k * channels * filters)
        self._taps_part, self._taps_sum = context.scratch((2, k * k * channels, filters))
        self._taps_sum[...] = 0
        if conv.input_grad:
            self._padded_dmaps = _Unfolded(context, (self._in_pairs, width, filters), k, n)
            self._turned = context.scratch((1, k * k * filters, channels))
            context.reserve("products", n * 2 * self._in_pairs * width * channels)

    def set_weight(self, weight: Floats) -> None:
        by_column = weight.transpose(1, 0, 2, 3)
        self._weight.reshape(by_column.shape)[...] = by_column

    def forward(self, x: Floats, maps: Floats, images: slice | None) -> None:
        self._x.fill(x, self._pad)
        for i, half in enumerate(maps.reshape(2, 1, -1)):
            windows = self._x.windows(len(x), i)
            for columns, out in self._by_column(half, self._pairs * len(x)):
                np.matmul(windows[:, columns], self._weight, out=out)

    def add_weight_gradient(self, x: Floats, images: slice) -> None:
        n = len(x)
        self._x.fill(x, self._pad)
        taps = self._workspace["taps"][: self.used[1] * self._taps_sum.size]
        taps = taps.reshape(1, self.used[1], *self._taps_sum.shape)
        for i, half in enumerate(self._dmaps[: n * self.map_size].reshape(2, 1, -1)):
            rows = (self.used[0] + 1 - i) // 2 * n
            windows = self._x.windows(n, i)[:, :, :rows].transpose(0, 1, 3, 2)
            for columns, dmaps in self._by_column(half, rows):
                np.matmul(windows[:, columns], dmaps, out=taps[:, columns])
            np.add.reduce(taps[0], axis=0, out=self._taps_part)
            self._taps_sum += self._taps_part

    def weight_gradient(self, grad: Floats) -> None:
        k, _, channels, filters = grad.shape
        grad[...] = self._taps_sum.reshape(k, k, channels, filters).transpose(1, 0, 2, 3)
        self._taps_sum[...] = 0

    def set_turned_weight(self, weight: Floats) -> None:
        turned = weight[::-1, ::-1].transpose(1, 0, 3, 2)
        self._turned.reshape(turned.shape)[...] = turned

    def input_gradient(self, dx: Floats) -> None:
        n, _, width, channels = dx.shape
        inside = self._padded_dmaps.inside(n, self.used, self._dpad)
        if self._apart:
            for i, corner in enumerate(self.gradient_corners(n)):
                inside[:, i // 2 :: 2, i % 2 :: 2] = corner.transpose(1, 0, 2, 3)
        else:
            interleave(*self.gradient_even_odd(n), inside)
        halves = self._workspace["products"][: 2 * self._in_pairs * n * width * channels]
        halves = halves.reshape(2, self._in_pairs, n, width, channels)
        for i, half in enumerate(halves):
            out = half.reshape(1, self._in_pairs * n, width, channels).transpose(0, 2, 1, 3)
            np.matmul(self._padded_dmaps.windows(n, i), self._turned, out=out)
        interleave(halves[0], halves[1], dx)


class _Unfolded:
    """The padded maps of a chunk, unfolded downwards: the even rows' patches or the odd ones'.

    Args:
        context: gives the buffers.
        shape: (pairs of rows, columns, channels) of what comes out.
        kernel: k, the side of a patch.
        chunk: the most images.
    """

    def __init__(self, context: BuildContext, shape: Shape, kernel: int, chunk: int) -> None:
        pairs, self._columns, channels = shape
        width = self._columns + kernel - 1
        self._padded = context.scratch((chunk, 2 * pairs + kernel - 1, width, channels))
        self._padded[...] = 0  # the border stays zero from here on
        context.reserve("rows", pairs * chunk * width * kernel * channels)
        self._workspace = context.workspace
        by_image, by_row, by_column, by_number = self._padded.strides
        self._shape = (2, pairs, chunk, width, kernel, channels)
        strides = (by_row, 2 * by_row, by_image, by_column, by_row, by_number)
        self._patches = as_strided(self._padded, self._shape, strides, writeable=False)
        self._views: dict[int, Floats] = {}

    def inside(self, n: int, size: Shape, pad: int) -> Floats:
        """Returns where maps of that size go, `pad` within the border. Shape: (n, H, W, C)."""
        return self._padded[:n, pad : pad + size[0], pad : pad + size[1]]

    def fill(self, x: Floats, pad: int) -> None:
        """Takes maps, as much of them as any patch holds. Shape: x: (n, H, W, C)."""
        rows, columns = self._padded.shape[1] - pad, self._padded.shape[2] - pad
        x = x[:, :rows, :columns]
        self.inside(len(x), x.shape[1:3], pad)[...] = x

    def windows(self, n: int, odd: int) -> Floats:
        """Unfolds the patches of even rows (0) or odd ones (1). Shape: → (1, columns, pairs · n, k · k · C)."""
        _, pairs, _, width, kernel, channels = self._shape
        unfolded = self._workspace["rows"][: pairs * n * width * kernel * channels]
        unfolded.reshape(pairs, n, width, kernel, channels)[...] = self._patches[odd, :, :n]
        if n not in self._views:
            by_column = kernel * channels * unfolded.itemsize
            shape = (1, self._columns, pairs * n, kernel * kernel * channels)
            self._views[n] = as_strided(unfolded, shape, (0, by_column, width * by_column, unfolded.itemsize))
        return self._views[n]
