"""Convolution with any kernel: a matrix product for each column, over patches that share their memory.

A map's rows are unfolded downwards only: beside each pixel lie those of the rows below it that the same patch holds.
The windows of a row of patches, k columns wide, are then stretches of this memory that overlap, and a product takes
them as they are, a matrix for each column: (rows, k · k · C) by (k · k · C, filters).

With few channels, as in a first layer, even that much unfolding costs more than arithmetic. There, patches are k + 1
rows high, and serve an even row and the odd one below it with weights that leave out the last row or the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from mnistnn.fusion.chunk_conv import ChunkConv, interleave
from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["WindowConv", "shares_patches"]

# What the largest array of a chunk takes; and the numbers in a patch's row below which patches serve two rows.
_CHUNK_BYTES = 1 << 21
_SHORT_ROW = 16


class WindowConv(ChunkConv):
    """See the module."""

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape, *, squares: bool) -> None:
        super().__init__(conv, context, used, squares=squares)
        (_, width, channels), k, filters = conv.in_shape, conv.kernel, self._filters
        self._kernel = k
        self._high = high = k + shares_patches(k, channels)  # rows of a patch
        unfolded = 2 * self._pairs * (used[1] + k - 1) * high * channels
        dunfolded = 2 * self._in_pairs * (width + k - 1) * k * filters if conv.input_grad else 0
        largest = max(2 * self.map_size, unfolded, dunfolded)
        self.chunk = n = self._even_parts(_CHUNK_BYTES // (largest * context.arena.dtype.itemsize))
        self._x = _Unfolded(context, (self._pairs, used[1], channels), k, high, n)
        self._weights = context.scratch((high - k + 1, 1, k * high * channels, filters))
        self._weights[...] = 0
        self._dmaps = context.scratch((n * self.map_size,))
        context.reserve("taps", used[1] * k * high * channels * filters)
        self._taps_part = context.scratch((k * high * channels, filters))
        self._taps_sum = context.scratch((len(self._weights), k * high * channels, filters))
        self._taps_sum[...] = 0
        if shares_patches(k, channels):
            size = k * high * channels
            self._moments = context.scratch((used[1], size, size))
            self._patch_sums, self._patch_products = np.zeros((2, size)), np.zeros((2, size, size))
            self._ones = np.ones(self._pairs * n, context.arena.dtype)
        if conv.input_grad:
            self._padded_dmaps = _Unfolded(context, (self._in_pairs, width, filters), k, k, n)
            self._turned = context.scratch((1, k * k * filters, channels))
            context.reserve("products", n * 2 * self._in_pairs * width * channels)

    def set_weight(self, weight: Floats) -> None:
        k = self._kernel
        for i, weights in enumerate(self._weights):
            weights.reshape(k, self._high, *weight.shape[2:])[:, i : i + k] = weight.transpose(1, 0, 2, 3)

    def forward(self, x: Floats, maps: Floats) -> None:
        self._x.fill(x, self._pad)
        for i, half in enumerate(maps.reshape(2, 1, -1)):
            windows = self._x.windows(len(x), i)
            for columns, out in self._by_column(half, self._pairs * len(x)):
                np.matmul(windows[:, columns], self._weights[i % len(self._weights)], out=out)

    def add_moments(self, n: int) -> None:
        """Adds the last n images' patches to the sums that `patch_moments` returns."""
        for i in (0, 1):
            rows = (self.used[0] + 1 - i) // 2 * n
            if i == 0 or self.used[0] % 2:  # else the odd rows' patches are those of the even ones
                windows = self._x.windows(n, 1)[0, :, :rows]
                np.matmul(windows.transpose(0, 2, 1), windows, out=self._moments)
                products = np.add.reduce(self._moments, axis=0)
                sums = np.add.reduce(np.matmul(self._ones[:rows], windows), axis=0)
            self._patch_sums[i] += sums
            self._patch_products[i] += products

    def patch_moments(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the sums, since the last call, of the patches, and of their outer products with themselves.

        Shape:
            (P,), (P, P) with P = k · k · C, in the order of the weights' rows
        """
        k, size = self._kernel, self._patch_sums.shape[1]
        moments = []
        for i in (0, 1):
            taps = np.arange(size).reshape(k, self._high, -1)[:, i : i + k].transpose(1, 0, 2).reshape(-1)
            moments.append((self._patch_sums[i, taps], self._patch_products[i][np.ix_(taps, taps)]))
        self._patch_sums[...], self._patch_products[...] = 0, 0
        (even_sum, even_products), (odd_sum, odd_products) = moments
        return even_sum + odd_sum, even_products + odd_products

    def gradient_corners(self, n: int) -> list[Floats]:
        return self.corners(self._dmaps[: n * self.map_size])

    def gradient_even_odd(self, n: int) -> tuple[Floats, Floats]:
        return self.even_odd(self._dmaps[: n * self.map_size])

    def add_weight_gradient(self, x: Floats) -> None:
        n = len(x)
        self._x.fill(x, self._pad)
        for i, half in enumerate(self._dmaps[: n * self.map_size].reshape(2, 1, -1)):
            rows = (self.used[0] + 1 - i) // 2 * n
            windows = self._x.windows(n, i)[:, :, :rows].transpose(0, 1, 3, 2)
            taps = self._workspace["taps"][: self.used[1] * self._taps_part.size]
            taps = taps.reshape(1, self.used[1], *self._taps_part.shape)
            for columns, dmaps in self._by_column(half, rows):
                np.matmul(windows[:, columns], dmaps, out=taps[:, columns])
            np.add.reduce(taps[0], axis=0, out=self._taps_part)
            self._taps_sum[i % len(self._taps_sum)] += self._taps_part

    def weight_gradient(self, grad: Floats) -> None:
        k = self._kernel
        grad[...] = 0
        for i, taps in enumerate(self._taps_sum):
            grad += taps.reshape(k, self._high, *grad.shape[2:])[:, i : i + k].transpose(1, 0, 2, 3)
        self._taps_sum[...] = 0

    def set_turned_weight(self, weight: Floats) -> None:
        turned = weight[::-1, ::-1].transpose(1, 0, 3, 2)
        self._turned.reshape(turned.shape)[...] = turned

    def input_gradient(self, dx: Floats) -> None:
        n, _, width, channels = dx.shape
        inside = self._padded_dmaps.inside(n, self.used, self._dpad)
        if self._apart:
            for k, corner in enumerate(self.gradient_corners(n)):
                inside[:, k // 2 :: 2, k % 2 :: 2] = corner.transpose(1, 0, 2, 3)
        else:
            interleave(*self.gradient_even_odd(n), inside)
        halves = self._workspace["products"][: 2 * self._in_pairs * n * width * channels]
        halves = halves.reshape(2, self._in_pairs, n, width, channels)
        for i, half in enumerate(halves):
            out = half.reshape(1, self._in_pairs * n, width, channels).transpose(0, 2, 1, 3)
            np.matmul(self._padded_dmaps.windows(n, i), self._turned, out=out)
        interleave(halves[0], halves[1], dx)


def shares_patches(kernel: int, channels: int) -> bool:
    """Says whether patches serve an even row and the odd one below it."""
    return kernel * channels < _SHORT_ROW


class _Unfolded:
    """The padded maps of a chunk, unfolded downwards.

    Args:
        context: gives the buffers.
        shape: (pairs of rows, columns, channels) of what comes out.
        kernel: k, the columns of a patch.
        high: its rows; k + 1 where even and odd rows share their patches.
        chunk: the most images.
    """

    def __init__(self, context: BuildContext, shape: Shape, kernel: int, high: int, chunk: int) -> None:
        pairs, self._columns, channels = shape
        self._kernel, self._high = kernel, high
        width = self._columns + kernel - 1
        self._padded = context.scratch((chunk, 2 * pairs + kernel - 1, width, channels))
        self._padded[...] = 0  # the border stays zero from here on
        parts = 1 if high > kernel else 2  # sets of patches: of both rows of a pair, or of each
        context.reserve("rows", parts * pairs * chunk * width * high * channels)
        self._workspace = context.workspace
        by_image, by_row, by_column, by_number = self._padded.strides
        self._shape = (parts, pairs, chunk, width, high, channels)
        self._views: dict[tuple[int, int], Floats] = {}
        strides = (by_row, 2 * by_row, by_image, by_column, by_row, by_number)
        self._patches = as_strided(self._padded, self._shape, strides, writeable=False)

    def inside(self, n: int, size: Shape, pad: int) -> Floats:
        """Returns where maps of that size go, `pad` within the border. Shape: (n, H, W, C)."""
        return self._padded[:n, pad : pad + size[0], pad : pad + size[1]]

    def fill(self, x: Floats, pad: int) -> None:
        """Takes maps, as much of them as any patch holds. Shape: x: (n, H, W, C)."""
        rows, columns = self._padded.shape[1] - pad, self._padded.shape[2] - pad
        x = x[:, :rows, :columns]
        self.inside(len(x), x.shape[1:3], pad)[...] = x

    def windows(self, n: int, part: int) -> Floats:
        """Unfolds, and returns the even or the odd rows' patches. Shape: (1, columns, pairs · n, k · high · C)."""
        parts, pairs, _, width, high, channels = self._shape
        size = pairs * n * width * high * channels
        unfolded = self._workspace["rows"][part % parts * size :][:size]
        if part < parts:
            unfolded.reshape(pairs, n, width, high, channels)[...] = self._patches[part, :, :n]
        if (n, part) not in self._views:
            by_column = high * channels * unfolded.itemsize
            shape = (1, self._columns, pairs * n, self._kernel * high * channels)
            strides = (0, by_column, width * by_column, unfolded.itemsize)
            self._views[n, part] = as_strided(unfolded, shape, strides)
        return self._views[n, part]
