"""Convolution with a 3×3 kernel in two thirds of the multiplications: Winograd's F(2, 3) along the rows.

Two outputs y₀, y₁ of three taps g over four inputs x₀ … x₃ need four products instead of six:

    m₀ = (x₀ - x₂) g₀    m₁ = (x₁ + x₂)(g₀ + g₁ + g₂)/2    m₂ = (x₂ - x₁)(g₀ - g₁ + g₂)/2    m₃ = (x₁ - x₃) g₂
    y₀ = m₀ + m₁ + m₂    y₁ = m₁ - m₂ - m₃

Here x are rows of a map and g rows of the kernel, so each product is one of matrices: a row's windows of 3 columns,
which are 3 · C neighbours in memory, by (3 · C, filters). Where a row begins at each column, the same memory serves all
windows: nothing is unfolded. Even and odd rows lie apart, so every sum runs over one stretch of memory.

Source: Winograd 1980; Lavin and Gray 2016, "Fast algorithms for convolutional neural networks". Their F(4, 3) needs
half the products, but three times the sums, and loses digits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mnistnn.fusion.chunk_conv import CHUNK_BYTES, ChunkConv, interleave
from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["WinogradConv"]

# The multiplications of one product: below a million, OpenBLAS takes kernels that do not copy their operands first.
_PRODUCT = 1_000_000


class WinogradConv(ChunkConv):
    """See the module."""

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape, *, squares: bool) -> None:
        super().__init__(conv, context, used, squares=squares)
        (_, width, channels), columns, filters = conv.in_shape, used[1], self._filters
        rows, dmap_rows = (4 * pairs * (width + 2) for pairs in (self._pairs, self._in_pairs))
        largest = max(2 * self.map_size, rows * channels, dmap_rows * filters)
        fitting = _PRODUCT // (self._in_pairs * 3 * channels * filters)
        fitting = min(max(fitting, 4), CHUNK_BYTES // (largest * context.arena.dtype.itemsize))
        self.chunk = n = self._even_parts(fitting)
        self._weight = context.scratch((4, 1, 3 * channels, filters))
        self._x = _Rows(context, self._pairs, columns, channels, n)
        context.reserve("products", 2 * n * self.map_size)
        context.reserve("taps", 4 * columns * 3 * channels * filters)
        self._taps_sum, self._taps_part = context.scratch((2, 4, 3 * channels, filters))
        self._taps_sum[...] = 0
        # The gradient by the maps, with the border that the full correlation of the input gradient looks at.
        self._padded_dmaps = _Rows(context, self._in_pairs, width, filters, n)
        context.reserve("pairs", 2 * self._pairs * n * (width + 2) * filters)
        if conv.input_grad:
            self._turned = context.scratch((4, 1, 3 * filters, channels))
            context.reserve("products", 4 * self._in_pairs * n * width * channels)

    def set_weight(self, weight: Floats) -> None:
        _transform_weight(weight, self._weight)

    def forward(self, x: Floats, maps: Floats, images: slice | None) -> None:
        windows = self._x.fill(x, self._pad).transform()
        products = self._workspace["products"][: 2 * maps.size].reshape(4, -1)
        for columns, out in self._by_column(products, self._pairs * len(x)):
            np.matmul(windows[:, columns], self._weight, out=out)
        _sum_products(products, *maps.reshape(2, -1))

    def gradient_even_odd(self, n: int) -> tuple[Floats, Floats]:
        return self._padded_dmaps.of(n).rows(self.used, self._dpad)

    def gradient_corners(self, n: int) -> list[Floats]:
        rows, columns = (size // 2 for size in self.used)
        return [half[:rows, :, j : 2 * columns : 2] for half in self.gradient_even_odd(n) for j in (0, 1)]

    def add_weight_gradient(self, x: Floats, images: slice) -> None:
        n, pairs, columns = len(x), self._pairs, self.used[1]
        windows = self._x.fill(x, self._pad).transform().transpose(0, 1, 3, 2)  # (4, W', 3 · C, pairs · n)
        even, odd = self._padded_dmaps.of(n).pairs(pairs, self._dpad)
        total, difference = self._workspace["pairs"][: 2 * even.size].reshape(2, -1)
        np.add(even, odd, out=total)
        np.subtract(even, odd, out=difference)
        taps_by_column = self._workspace["taps"][: columns * self._taps_sum.size].reshape(4, columns, -1, self._filters)
        for taps, part, dmaps in zip(taps_by_column, windows, (even, total, difference, odd), strict=True):
            dcolumns = dmaps.reshape(pairs * n, -1, self._filters)[:, self._dpad : self._dpad + columns]
            np.matmul(part, dcolumns.transpose(1, 0, 2), out=taps)
        np.add.reduce(taps_by_column, axis=1, out=self._taps_part)
        self._taps_sum += self._taps_part

    def weight_gradient(self, grad: Floats) -> None:
        first, total, difference, last = self._taps_sum
        top, middle, bottom = grad.reshape(3, -1, self._filters)
        np.subtract(total, difference, out=middle)
        middle *= 0.5
        total += difference
        total *= 0.5
        np.add(total, first, out=top)
        np.subtract(total, last, out=bottom)
        self._taps_sum[...] = 0

    def set_turned_weight(self, weight: Floats) -> None:
        _transform_weight(weight[::-1, ::-1].transpose(0, 1, 3, 2), self._turned)

    def input_gradient(self, dx: Floats) -> None:
        n, _, width, channels = dx.shape
        shape = (self._in_pairs, n, width, channels)
        products = self._workspace["products"][: 4 * math.prod(shape)]
        products = products.reshape(4, self._in_pairs * n, width, channels)
        np.matmul(self._padded_dmaps.of(n).transform(), self._turned, out=products.transpose(0, 2, 1, 3))
        even, odd = products[:2]
        _sum_products(products, even, odd)
        interleave(even.reshape(shape), odd.reshape(shape), dx)


class _Rows:
    """The padded rows of n images, even and odd ones apart, and the four rows that each pair of them becomes.

    Args:
        context: gives the buffers.
        pairs: how many pairs of rows come out.
        columns: how many columns come out; a row in has two more.
        channels: numbers a pixel.
        chunk: the most images.
    """

    def __init__(self, context: BuildContext, pairs: int, columns: int, channels: int, chunk: int) -> None:
        self._sizes = pairs, columns, channels
        self._padded = context.scratch((2, chunk * (pairs + 1) * (columns + 2) * channels))
        self._padded[...] = 0
        context.reserve("rows", 4 * chunk * pairs * (columns + 2) * channels)
        self._workspace = context.workspace
        self._n = chunk
        self._views: dict[int, _Views] = {}

    def of(self, n: int) -> _Views:
        """Returns the memory as it is laid out for n images."""
        if n != self._n:  # the border lies elsewhere then
            self._padded[...] = 0
            self._n = n
        if n not in self._views:
            self._views[n] = self._view(n)
        return self._views[n]

    def fill(self, x: Floats, pad: int) -> _Views:
        """Takes maps, as much of them as comes out. Shape: x: (n, H, W, C)."""
        pairs, columns, _ = self._sizes
        x = x[:, : 2 * (pairs + 1) - pad, : columns + 2 - pad]
        views = self.of(len(x))
        even, odd = views.rows(x.shape[1:3], pad)
        even[...] = x[:, ::2].transpose(1, 0, 2, 3)
        odd[...] = x[:, 1::2].transpose(1, 0, 2, 3)
        return views

    def _view(self, n: int) -> _Views:
        pairs, columns, channels = self._sizes
        row = (columns + 2) * channels
        padded = self._padded[:, : (pairs + 1) * n * row]
        transformed = self._workspace["rows"][: 4 * pairs * n * row].reshape(4, -1)
        item = transformed.itemsize
        shape = (4, columns, pairs * n, 3 * channels)
        strides = (transformed.strides[0], channels * item, row * item, item)
        windows = as_strided(transformed, shape, strides)
        return _Views(padded.reshape(2, pairs + 1, n, columns + 2, channels), transformed, windows)


class _Views(NamedTuple):
    """Shape: padded: (2, pairs + 1, n, W + 2, C); rows: (4, …), flat; windows: (4, W, pairs · n, 3 · C)."""

    padded: Floats
    transformed: Floats
    windows: Floats

    def rows(self, size: Shape, pad: int) -> tuple[Floats, Floats]:
        """Returns the even and the odd rows of maps that lie `pad` within the border. Shape: (rows, n, W, C) each."""
        height, width = size
        even, odd = (
            self.padded[(row + pad) % 2, (row + pad) // 2 :, :, pad : pad + width][: (height + 1 - row) // 2]
            for row in (0, 1)
        )
        return even, odd

    def pairs(self, count: int, pad: int) -> tuple[Floats, Floats]:
        """Returns the even and the odd rows from the one at `pad` on, border and all, each as one vector."""
        even, odd = (self.padded[(row + pad) % 2, (row + pad) // 2 :][:count].reshape(-1) for row in (0, 1))
        return even, odd

    def transform(self) -> Floats:
        """Computes the four rows of each pair, and returns their windows of three columns."""
        even, odd = self.padded
        upper, lower, first, last = (rows.reshape(-1) for rows in (even[:-1], even[1:], odd[:-1], odd[1:]))
        rows = self.transformed
        np.subtract(upper, lower, out=rows[0])
        np.add(first, lower, out=rows[1])
        np.subtract(lower, first, out=rows[2])
        np.subtract(first, last, out=rows[3])
        return self.windows


def _transform_weight(weight: Floats, out: Floats) -> None:
    """Writes the four combinations of the kernel's rows. Shape: (3, 3, C, filters) → (4, 1, 3 · C, filters)."""
    top, middle, bottom = weight
    first, total, difference, last = out.reshape(4, *top.shape)
    first[...] = top
    last[...] = bottom
    np.add(top, bottom, out=total)
    np.subtract(total, middle, out=difference)
    np.add(total, middle, out=total)
    total *= 0.5
    difference *= 0.5


def _sum_products(products: Floats, even: Floats, odd: Floats) -> None:
    """Writes the rows that the four products make; both may lie where the first two products do."""
    first, total, difference, last = products
    np.add(first, total, out=first)
    np.subtract(total, difference, out=total)
    np.add(first, difference, out=even)
    np.subtract(total, last, out=odd)
