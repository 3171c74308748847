"""The patches of a convolution as few matrices as their memory allows."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mnistnn.layer import BuildContext
from mnistnn.types import Floats, Shape

__all__ = ["Tap", "Taps", "add_products", "has_whole_patches"]

# Numbers in a patch's row, below which whole patches make the better product.
_SHORT_ROW = 16

Tap: TypeAlias = tuple[Floats, slice]
"""A matrix of patches, or of a part of each, and the rows of the weights that belong to it."""


class Taps:
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
        self._whole = has_whole_patches(kernel, channels)
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


def has_whole_patches(kernel: int, channels: int) -> bool:
    """Says whether `Taps` gives one matrix of whole patches, of less than kernel · 16 numbers each."""
    return kernel * channels < _SHORT_ROW


def add_products(taps: list[Tap], weight: Floats, out: Floats, part: Floats) -> None:
    """Writes the sum of the taps' products with their parts of `weight` to `out`; `part` is overwritten."""
    (matrix, rows), *others = taps
    np.matmul(matrix, weight[rows], out=out)
    for matrix, rows in others:
        np.matmul(matrix, weight[rows], out=part)
        out += part
