"""The rows of patches that turn a convolution into one matrix product."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mnistnn.layer import BuildContext
from mnistnn.types import Floats, Shape

__all__ = ["Overlaps", "Patches", "chunks"]

# The patches of a chunk are written once and read once: they should still lie in a core's own cache when they are read.
_CHUNK_BYTES = 1 << 20


class Patches:
    """Unfolds the k×k patches of a few padded images into the rows of a matrix.

    The matrix lies row by row, or column by column where a row's runs of kernel × channels numbers would be too short
    to copy fast (the first layer, with its one channel). A matrix product takes either as it is.

    Args:
        context: gives the buffers.
        shape: (H, W, C) of an image.
        kernel: k, the side of a patch.
        padding: rows and columns of zeros on each side.
        stride: from one patch to the next, both ways.
    """

    def __init__(self, context: BuildContext, shape: Shape, kernel: int, padding: int, stride: int = 1) -> None:
        height, width, channels = shape
        self.rows = (height + 2 * padding - kernel) // stride + 1
        self.columns = (width + 2 * padding - kernel) // stride + 1
        self._pad = padding
        self._size = kernel * kernel * channels
        bytes_per_image = self.rows * self.columns * self._size * context.arena.dtype.itemsize
        self.chunk = n = max(1, min(context.max_batch, _CHUNK_BYTES // bytes_per_image))
        self._padded = context.scratch((n, height + 2 * padding, width + 2 * padding, channels))
        self._padded[...] = 0  # the border stays zero from here on
        self._inside = self._padded[:, padding : padding + height, padding : padding + width]
        windows = sliding_window_view(self._padded, (kernel, kernel), axis=(1, 2))  # (n, rows, columns, C, k, k)
        self._windows = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)  # (n, rows, columns, k, k, C)
        if kernel * channels >= 16:
            unfolded = context.scratch(self._windows.shape)
            self._matrix = unfolded.reshape(-1, self._size)
        else:
            unfolded = context.scratch((kernel, kernel, channels, n, self.rows, self.columns))
            self._matrix = unfolded.reshape(self._size, -1).T
            unfolded = unfolded.transpose(3, 4, 5, 0, 1, 2)
        self._unfolded = unfolded

    def of(self, images: Floats) -> Floats:
        """Returns the patches of up to `chunk` images; good until the next call.

        Shape:
            images: (n, H, W, C) → (n · rows · columns, k · k · C)
        """
        n = len(images)
        self._inside[:n] = images
        self._unfolded[:n] = self._windows[:n]
        return self._matrix[: n * self.rows * self.columns]


class Overlaps:
    """Adds up, pixel by pixel, what patches say of the pixels that they share: what unfolding is the transpose of.

    Args:
        context: gives the buffers.
        shape: (H, W, C) of an image.
        patches: how they were unfolded.
        kernel: k, the side of a patch.
        padding: rows and columns on each side that belong to no image; what is said of them is dropped.
        stride: from one patch to the next, both ways.
    """

    def __init__(
        self, context: BuildContext, shape: Shape, patches: Patches, kernel: int, padding: int, stride: int
    ) -> None:
        height, width, channels = shape
        self._kernel, self._stride = kernel, stride
        self._grid = patches.rows, patches.columns
        self._padded = context.scratch((patches.chunk, height + 2 * padding, width + 2 * padding, channels))
        self._inside = self._padded[:, padding : padding + height, padding : padding + width]
        self._taps = context.scratch((kernel * kernel, patches.chunk * patches.rows * patches.columns, channels))

    def taps(self, n: int) -> Floats:
        """Returns the memory for what n images' patches say, one place of the kernel after another.

        Shape:
            (k · k, n · rows · columns, C)
        """
        return self._taps[:, : n * self._grid[0] * self._grid[1]]

    def sum(self, out: Floats) -> None:
        """Writes the sums of what stands in `taps`. Shape: out: (n, H, W, C)."""
        n, (rows, columns), stride = len(out), self._grid, self._stride
        padded = self._padded[:n]
        padded[...] = 0
        for index, tap in enumerate(self.taps(n)):
            i, j = divmod(index, self._kernel)
            met = padded[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            np.add(met, tap.reshape(n, rows, columns, -1), out=met)
        out[...] = self._inside[:n]


def chunks(n: int, size: int) -> list[slice]:
    """Returns the slices that part `n` images into runs of `size`."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
