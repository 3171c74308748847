"""Convolution of a net's input, which has few channels and whose gradient nobody needs.

As in `windows`, rows are unfolded downwards and windows share their memory; but with few numbers a row, unfolding costs
more than arithmetic. So patches are k + 1 rows high, and serve an even row and the odd one below it with weights that
leave out the last row or the first; and they are kept from the forward pass for the weights' gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from mnistnn.fusion.chunk_conv import CHUNK_BYTES, ChunkConv
from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["InputConv"]

# The numbers in a patch's row below which all this pays.
_SHORT_ROW = 16


class InputConv(ChunkConv):
    """See the module. Its windows are (1, columns, pairs · n, P) with P = k · (k + 1) · C numbers, by columns, down."""

    @staticmethod
    def suits(conv: Conv2D) -> bool:
        """Says whether a convolution is of this kind."""
        return not conv.input_grad and conv.kernel * conv.in_shape[2] < _SHORT_ROW

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape, *, squares: bool) -> None:
        super().__init__(conv, context, used, squares=squares)
        k, channels, columns = conv.kernel, conv.in_shape[2], used[1]
        high, width = k + 1, columns + k - 1
        self._kernel, self._columns = k, columns
        self.chunk = n = self._even_parts(CHUNK_BYTES // (self.map_size * context.arena.dtype.itemsize))
        self._padded = context.scratch((n, 2 * self._pairs + k - 1, width, channels))
        self._padded[...] = 0  # the border stays zero from here on
        self._patch_shape = (self._pairs, n, width, high, channels)
        self._unfolded_size = self._pairs * width * high * channels  # of one image
        # Those of a batch, chunk after chunk, and of one more chunk for inference.
        self._unfolded = context.scratch(((context.max_batch + n) * self._unfolded_size,))
        self._views: dict[tuple[int, int], Floats] = {}
        size = k * high * channels
        self._weights = context.scratch((2, 1, size, self._filters))
        self._weights[...] = 0
        self._dmaps = context.scratch((n * self.map_size,))
        context.reserve("taps", columns * size * self._filters)
        self._taps_part = context.scratch((size, self._filters))
        self._taps_sum = context.scratch((2, size, self._filters))
        self._taps_sum[...] = 0
        self._moments = context.scratch((columns, size, size))
        self._patch_sums, self._patch_products = np.zeros((2, size)), np.zeros((2, size, size))
        self._ones = np.ones(self._pairs * n, context.arena.dtype)

    def set_weight(self, weight: Floats) -> None:
        for i, weights in enumerate(self._weights):
            self._rows_of_kernel(weights, i)[...] = weight.transpose(1, 0, 2, 3)

    def _rows_of_kernel(self, taps: NDArray[Any], i: int) -> NDArray[Any]:
        """Returns what belongs to the patches of even rows (0) or odd ones (1). Shape: (P, …) → (k, k, C, …)."""
        k = self._kernel
        return taps.reshape(k, k + 1, self._padded.shape[3], -1)[:, i : i + k]

    def forward(self, x: Floats, maps: Floats, images: slice | None) -> None:
        self.unfold(x, images)
        self.multiply(maps, images)

    def unfold(self, x: Floats, images: slice | None) -> None:
        """Takes the patches of a chunk; the rest is as in `forward`, of which this is the first part."""
        n = len(x)
        rows, columns = self._padded.shape[1] - self._pad, self._padded.shape[2] - self._pad
        x = x[:, :rows, :columns]
        self._padded[:n, self._pad : self._pad + x.shape[1], self._pad : self._pad + x.shape[2]] = x
        start = self._start(images)
        pairs, _, *rest = self._patch_shape
        unfolded = self._unfolded[start : start + n * self._unfolded_size].reshape(pairs, n, *rest)
        for down in range(self._kernel + 1):
            unfolded[:, :, :, down] = self._padded[:n, down : down + 2 * pairs : 2].transpose(1, 0, 2, 3)

    def multiply(self, maps: Floats, images: slice | None) -> None:
        """Writes the maps of the chunk that was unfolded for these images: the second part of `forward`."""
        n = maps.size // self.map_size
        windows = self._windows(images, n)
        for half, weights in zip(maps.reshape(2, 1, -1), self._weights, strict=True):
            for columns, out in self._by_column(half, self._pairs * n):
                np.matmul(windows[:, columns], weights, out=out)

    def _start(self, images: slice | None) -> int:
        first: int = self._max_batch if images is None else images.start
        return first * self._unfolded_size

    def _windows(self, images: slice | None, n: int) -> Floats:
        start = self._start(images)
        if (start, n) not in self._views:
            unfolded = self._unfolded[start : start + n * self._unfolded_size]
            _, _, width, high, channels = self._patch_shape
            by_column = high * channels * unfolded.itemsize
            shape = (1, self._columns, self._pairs * n, self._kernel * high * channels)
            self._views[start, n] = as_strided(unfolded, shape, (0, by_column, width * by_column, unfolded.itemsize))
        return self._views[start, n]

    def add_moments(self, images: slice) -> None:
        """Adds the patches of images that were unfolded to the sums that `patch_moments` returns."""
        n = images.stop - images.start
        for i in (0, 1):
            rows = (self.used[0] + 1 - i) // 2 * n
            if i == 0 or self.used[0] % 2:  # else the odd rows' patches are those of the even ones
                windows = self._windows(images, n)[0, :, :rows]
                np.matmul(windows.transpose(0, 2, 1), windows, out=self._moments)
                products = np.add.reduce(self._moments, axis=0)
                sums = np.add.reduce(np.matmul(self._ones[:rows], windows), axis=0)
            self._patch_sums[i] += sums
            self._patch_products[i] += products

    def patch_moments(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns the sums, since the last call, of the patches, and of their outer products with themselves.

        Shape:
            (k · k · C,), (k · k · C, k · k · C), in the order of the weights' rows
        """
        numbers = np.arange(self._patch_sums.shape[1])
        total, squares = 0.0, 0.0
        for i, (sums, products) in enumerate(zip(self._patch_sums, self._patch_products, strict=True)):
            taps = self._rows_of_kernel(numbers, i).transpose(1, 0, 2, 3).reshape(-1)
            total, squares = total + sums[taps], squares + products[np.ix_(taps, taps)]
        self._patch_sums[...], self._patch_products[...] = 0, 0
        return np.asarray(total), np.asarray(squares)

    def add_weight_gradient(self, x: Floats, images: slice) -> None:
        n = len(x)
        windows = self._windows(images, n).transpose(0, 1, 3, 2)
        taps = self._workspace["taps"][: self._columns * self._taps_part.size]
        taps = taps.reshape(1, self._columns, *self._taps_part.shape)
        for i, half in enumerate(self._dmaps[: n * self.map_size].reshape(2, 1, -1)):
            rows = (self.used[0] + 1 - i) // 2 * n
            for columns, dmaps in self._by_column(half, rows):
                np.matmul(windows[:, columns, :, :rows], dmaps, out=taps[:, columns])
            np.add.reduce(taps[0], axis=0, out=self._taps_part)
            self._taps_sum[i] += self._taps_part

    def weight_gradient(self, grad: Floats) -> None:
        grad[...] = 0
        for i, taps in enumerate(self._taps_sum):
            grad += self._rows_of_kernel(taps, i).transpose(1, 0, 2, 3)
        self._taps_sum[...] = 0

    def set_turned_weight(self, weight: Floats) -> None:
        """Does nothing: no input gradient is owed."""

    def input_gradient(self, dx: Floats) -> None:
        """Does nothing: no input gradient is owed."""
