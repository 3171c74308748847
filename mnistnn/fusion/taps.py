"""Convolution with any kernel, by the patches as few matrices as their memory allows."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mnistnn.fusion.chunk_conv import ChunkConv
from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["TapConv"]

# Numbers in a patch's row, below which whole patches make the better product.
_SHORT_ROW = 16

# What the largest array of a chunk takes: measured, from 128 kB to 2 MB, on nets of one to three blocks.
_CHUNK_BYTES = 1 << 21

Tap: TypeAlias = tuple[Floats, slice]
"""A matrix of patches, or of a part of each, and the rows of the weights that belong to it."""


class TapConv(ChunkConv):
    """A chunk's maps lie as (H', n, W', filters).

    A row of patches moved down by one picture row is then the same memory, begun n · W' rows later, so only the
    kernel's columns have to be unfolded.
    """

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape) -> None:
        super().__init__(conv, context, conv.out_shape[:2])
        height, width = self.used
        k, channels, filters = conv.kernel, conv.in_shape[2], self._filters
        self.map_size = height * width * filters
        itemsize = context.arena.dtype.itemsize
        largest = height * width * max(k * max(channels, filters if conv.input_grad else 0), 2 * filters)
        self.chunk = n = max(1, min(context.max_batch, _CHUNK_BYTES // (largest * itemsize)))
        self._taps = _Taps(context, conv.in_shape, k, conv.padding, n)
        self._part, self._dmaps = context.scratch((2, n * self.map_size))
        self._weight: Floats = np.empty((k * k * channels, filters), context.arena.dtype)
        self._dweight, self._dweight_sum = context.scratch((2, k * k * channels, filters))
        self._dweight_sum[...] = 0
        if conv.input_grad:
            self._dmap_taps = _Taps(context, conv.out_shape, k, k - 1 - conv.padding, n)
            self._turned = context.scratch((k, k, filters, channels))
            self._dx, self._dx_part = context.scratch((2, n * conv.in_shape[0] * conv.in_shape[1], channels))

    def set_weight(self, weight: Floats) -> None:
        self._weight = weight.reshape(-1, self._filters)

    def forward(self, x: Floats, maps: Floats) -> None:
        rows = maps.reshape(-1, self._filters)
        _add_products(self._taps.of(x), self._weight, rows, self._part[: maps.size].reshape(rows.shape))

    def corners(self, maps: Floats) -> list[Floats]:
        height, width = (size // 2 * 2 for size in self.used)
        natural = self._natural(maps)
        return [natural[i:height:2, :, j:width:2] for i in (0, 1) for j in (0, 1)]

    def even_odd(self, maps: Floats) -> tuple[Floats, Floats]:
        natural = self._natural(maps)
        return natural[::2], natural[1::2]

    def _natural(self, maps: Floats) -> Floats:
        height, width = self.used
        natural: Floats = maps.reshape(height, -1, width, self._filters)
        return natural

    def gradient_maps(self, n: int) -> Floats:
        return self._dmaps[: n * self.map_size]

    def take_gradient(self, n: int) -> None:
        """Does nothing: the products read the maps as they are."""

    def add_weight_gradient(self, x: Floats) -> None:
        dmaps = self._dmaps[: len(x) * self.map_size].reshape(-1, self._filters)
        for matrix, rows in self._taps.of(x):
            np.matmul(matrix.T, dmaps, out=self._dweight[rows])
        self._dweight_sum += self._dweight

    def weight_gradient(self, grad: Floats) -> None:
        grad.reshape(-1, self._filters)[...] = self._dweight_sum
        self._dweight_sum[...] = 0

    def set_turned_weight(self, weight: Floats) -> None:
        self._turned[...] = weight[::-1, ::-1].transpose(0, 1, 3, 2)

    def input_gradient(self, dx: Floats) -> None:
        n, height, width, channels = dx.shape
        rows = self._dx[: height * n * width]
        taps = self._dmap_taps.of(self._natural(self.gradient_maps(n)).transpose(1, 0, 2, 3))
        _add_products(taps, self._turned.reshape(-1, channels), rows, self._dx_part[: len(rows)])
        dx[...] = rows.reshape(height, n, width, channels).transpose(1, 0, 2, 3)


class _Taps:
    """The patches of a chunk of images as a few matrices, whose products with parts of the weights add up.

    Where a patch's rows hold many numbers, there is a matrix for each row of the kernel, and they share their memory.
    Where they hold few (the first layer, with its one channel), one matrix of whole patches makes the better product.

    Args:
        context: gives the buffers.
        shape: (H, W, C) of an image.
        kernel: k, the side of a patch.
        padding: rows and columns of zeros on each side.
        chunk: the most images at a time.
    """

    def __init__(self, context: BuildContext, shape: Shape, kernel: int, padding: int, chunk: int) -> None:
        height, width, channels = shape
        self._kernel, self._run = kernel, kernel * channels
        self._height, self._width = height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
        padded = context.scratch((chunk, height + 2 * padding, width + 2 * padding, channels))
        padded[...] = 0  # the border stays zero from here on
        self._inside = padded[:, padding : padding + height, padding : padding + width]
        self._whole = self._run < _SHORT_ROW
        rows = self._height if self._whole else height + 2 * padding
        if self._whole:
            windows = sliding_window_view(padded, (kernel, kernel), axis=(1, 2))  # (n, H, W, C, k, k)
            self._windows = windows.transpose(4, 5, 3, 1, 0, 2)  # (k, k, C, H, n, W)
            self._unfolded = context.scratch((kernel * self._run * rows * chunk * self._width,))
        else:
            windows = sliding_window_view(padded, kernel, axis=2)  # (n, H + k - 1, W, C, k)
            self._windows = windows.transpose(1, 0, 2, 4, 3)  # (H + k - 1, n, W, k, C)
            self._unfolded = context.scratch((rows * chunk * self._width * self._run,))

    def of(self, images: Floats) -> list[Tap]:
        """Returns each matrix with its part of the weights' rows; good until the next call.

        Shape:
            images: (n, H, W, C) → matrices (H' · n · W', rows of the weights)
        """
        n = len(images)
        self._inside[:n] = images
        if self._whole:
            windows = self._windows[..., :n, :]
            unfolded = self._unfolded[: windows.size]
            unfolded.reshape(windows.shape)[...] = windows
            return [(unfolded.reshape(self._kernel * self._run, -1).T, slice(None))]
        windows = self._windows[:, :n]
        unfolded = self._unfolded[: windows.size]
        unfolded.reshape(windows.shape)[...] = windows
        rows, step = unfolded.reshape(-1, self._run), n * self._width
        return [
            (rows[i * step : (i + self._height) * step], slice(i * self._run, (i + 1) * self._run))
            for i in range(self._kernel)
        ]


def _add_products(taps: list[Tap], weight: Floats, out: Floats, part: Floats) -> None:
    """Writes the sum of the taps' products with their parts of `weight` to `out`; `part` is overwritten."""
    (matrix, rows), *others = taps
    np.matmul(matrix, weight[rows], out=out)
    for matrix, rows in others:
        np.matmul(matrix, weight[rows], out=part)
        out += part
