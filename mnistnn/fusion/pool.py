"""2×2 max pooling of the maps of a chunk."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mnistnn.layer import BuildContext
from mnistnn.types import Floats, Shape

__all__ = ["ChunkPool"]


class ChunkPool:
    """2×2 max pooling of a chunk's maps, which remembers where each maximum stood."""

    def __init__(self, out_shape: Shape, chunk: int, context: BuildContext) -> None:
        # Whether the right number of the upper pair, that of the lower pair, and the lower pair won. On a tie none
        # did, so that the first in reading order gets the gradient.
        self._size = math.prod(out_shape)
        self._won = context.scratch((3, context.max_batch * self._size), np.bool_)
        self._pairs = context.scratch((3, chunk * self._size))
        self._shape = out_shape

    def _views(self, images: slice) -> tuple[NDArray[np.bool_], Floats]:
        """Returns who won, and memory for pairs, of these images. Each is contiguous: NumPy casts without buffers."""
        height, width, channels = self._shape
        shape = (3, height, images.stop - images.start, width, channels)
        won = self._won[:, images.start * self._size : images.stop * self._size]
        return won.reshape(shape), self._pairs[:, : math.prod(shape[1:])].reshape(shape)

    def forward(self, corners: list[Floats], images: slice, *, train: bool) -> Floats:
        """Returns the maxima of squares, which are those of `images` in the batch, until the next call.

        Shape:
            corners: four in reading order, each (H', n, W', C) → the same
        """
        upper_left, upper_right, lower_left, lower_right = corners
        won, (upper, lower, _) = self._views(images)
        np.maximum(upper_left, upper_right, out=upper)
        np.maximum(lower_left, lower_right, out=lower)
        if train:
            np.greater(upper_right, upper_left, out=won[0])
            np.greater(lower_right, lower_left, out=won[1])
            np.greater(lower, upper, out=won[2])
        return np.maximum(upper, lower, out=upper)

    def backward(self, dy: Floats, out: list[Floats], images: slice, *, base: list[Floats] | None = None) -> None:
        """Writes the gradients to where the maxima stood, and 0 elsewhere; or both added to `base`.

        Shape:
            dy: (n, H', W', C); out, base: four corners in reading order, each (H', n, W', C)
        """
        won, (upper, lower, right) = self._views(images)
        upper[...] = dy.transpose(1, 0, 2, 3)  # apart from the product, or NumPy would take buffers to cast all at once
        np.multiply(upper, won[2], out=lower)
        np.subtract(upper, lower, out=upper)
        for row, pair in ((0, upper), (1, lower)):
            np.multiply(pair, won[row], out=right)
            np.subtract(pair, right, out=pair)
            for i, part in ((2 * row, pair), (2 * row + 1, right)):
                if base is None:
                    out[i][...] = part
                else:
                    np.add(base[i], part, out=out[i])
