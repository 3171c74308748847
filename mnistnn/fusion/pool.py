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
        self._size = math.prod(out_shape)
        self._won = context.scratch((4, context.max_batch * self._size), np.bool_)  # each corner's, in reading order
        context.reserve("pairs", 2 * chunk * self._size)
        self._workspace = context.workspace
        self._shape = out_shape

    def _views(self, images: slice) -> tuple[NDArray[np.bool_], Floats]:
        """Returns who won, and memory for pairs, of these images. Each is contiguous: NumPy casts without buffers."""
        height, width, channels = self._shape
        shape = (height, images.stop - images.start, width, channels)
        won = self._won[:, images.start * self._size : images.stop * self._size]
        return won.reshape(4, *shape), self._workspace["pairs"][: 2 * math.prod(shape)].reshape(2, *shape)

    def forward(self, corners: list[Floats], images: slice, *, train: bool) -> Floats:
        """Returns the maxima of squares, which are those of `images` in the batch, until the next call.

        Shape:
            corners: four in reading order, each (H', n, W', C) → the same
        """
        upper_left, upper_right, lower_left, lower_right = corners
        won, (upper, lower) = self._views(images)
        np.maximum(upper_left, upper_right, out=upper)
        np.maximum(lower_left, lower_right, out=lower)
        if train:  # on a tie, the first in reading order gets the gradient
            won_upper_left, won_upper_right, won_lower_left, won_lower_right = won
            below = np.greater(lower, upper, out=won_lower_left)
            np.greater(upper_right, upper_left, out=won_upper_right)
            np.logical_or(won_upper_right, below, out=won_upper_left)
            np.logical_not(won_upper_left, out=won_upper_left)
            np.greater(won_upper_right, below, out=won_upper_right)  # of truths: the first, and not the second
            np.greater(lower_right, lower_left, out=won_lower_right)
            np.logical_and(won_lower_right, below, out=won_lower_right)
            np.greater(below, won_lower_right, out=won_lower_left)
        maxima: Floats = np.maximum(upper, lower, out=upper)
        return maxima

    def backward(self, dy: Floats, out: list[Floats], images: slice, *, base: list[Floats] | None = None) -> None:
        """Writes the gradients to where the maxima stood, and 0 elsewhere; or both added to `base`.

        Shape:
            dy: (n, H', W', C); out, base: four corners in reading order, each (H', n, W', C)
        """
        won, (gradients, part) = self._views(images)
        gradients[...] = dy.transpose(1, 0, 2, 3)
        for i, corner in enumerate(out):
            if base is None:
                np.multiply(gradients, won[i], out=corner)
            else:
                np.multiply(gradients, won[i], out=part)
                np.add(base[i], part, out=corner)
