"""Resampling: images drawn anew, each pixel from the place that a map names, by bilinear interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.types import Floats, Shape, UInt8s

__all__ = ["Resampler", "rotation_maps", "scaling_maps", "shear_maps", "warp"]

# Pixels that are resampled at once, by images as a whole: what a pass writes is then in the cache for the next one.
_AT_ONCE = 25 * 28 * 28


class Resampler:
    """Draws images anew, with memory for some of them, and black for what lies outside.

    A map says for each pixel of the new image from which place of the old one it comes. It is a bilinear form: on an
    axis, the place of pixel (h, w) is Σᵢⱼ rows[h, i] · coefs[axis, i, image, j] · columns[w, j]. The last two functions
    of each basis are the pixel's own place, counted from the middle, and 1, of which affine maps are made; what comes
    before them is the caller's, and bends. So any map takes two matrix products an axis.

    Args:
        image_shape: of all images.
        max_batch: how many there are at most.
        rows: more functions of a pixel's row, if any.
        columns: more of its column.

    Shape:
        rows: (H, r - 2), columns: (W, c - 2), for there are those of affine maps besides; coefs: (2, r, n, c)

    Attributes:
        at_once: how many images are drawn by one call.
    """

    def __init__(
        self, image_shape: Shape, max_batch: int, rows: Floats | None = None, columns: Floats | None = None
    ) -> None:
        height, width = image_shape
        self.at_once = n = max(1, min(max_batch, _AT_ONCE // (height * width)))
        self._shape = height, width
        self._rows = _basis(height, rows)  # (H, r)
        self._columns = np.ascontiguousarray(_basis(width, columns).T)  # (c, W)
        self._counts = self._rows.shape[1], len(self._columns)
        size = height * n * width
        self._coefs = np.empty(2 * n * self._counts[0] * self._counts[1], np.float32)
        self._half = np.empty(height * n * self._counts[1], np.float32)
        self._places, self._corners = (np.empty((2, size), np.float32) for _ in range(2))
        self._values = np.empty((4, size), np.float32)
        self._index = np.empty(size, np.intp)
        # A black row and column before each image, and two after it: no place is beyond, and each has a next one.
        self._canvas = np.zeros((n, height + 3, width + 3), np.float32)
        first = np.arange(n, dtype=np.float32) * self._canvas[0].size
        self._first = np.repeat(first, width)  # (n · W,): where each image begins in the canvas, for a row of all

    def coefs(self, n: int) -> Floats:
        """Returns the coefficients of the maps of `n` images, all zero. Shape: (2, r, n, c)."""
        rows, columns = self._counts
        coefs = self._coefs[: 2 * rows * n * columns].reshape(2, rows, n, columns)
        coefs.fill(0)
        return coefs

    def place(self, coefs: Floats, matrices: NDArray[Any], offsets: NDArray[Any]) -> None:
        """Puts affine maps among the coefficients. Shape: (n, 2, 2), (n, 2), as those of `warp`."""
        for axis, side in enumerate(self._shape):
            coefs[axis, -2, :, -1] = matrices[:, axis, 0]
            coefs[axis, -1, :, -2] = matrices[:, axis, 1]
            coefs[axis, -1, :, -1] = offsets[:, axis]
            coefs[axis, -1, :, -1] += (side - 1) / 2 + 1  # the middle, in the canvas

    def resample(self, images: UInt8s, coefs: Floats, out: UInt8s) -> None:
        """Draws images anew by the maps with such coefficients.

        In all that is computed a row of all images lies together, and every array is in one piece: of others NumPy
        would make copies, piece by piece.

        Shape: images, out: (n, H, W) uint8, n ≤ at_once
        """
        n, (height, width), (rows, columns) = len(images), self._shape, self._counts
        size, across = height * n * width, width + 3
        places, corners = self._places[:, :size], self._corners[:, :size]
        for axis, side in enumerate(self._shape):
            half = self._half[: height * n * columns]
            np.matmul(self._rows, coefs[axis].reshape(rows, -1), out=half.reshape(height, -1))
            place, corner = places[axis], corners[axis]
            np.matmul(half.reshape(-1, columns), self._columns, out=place.reshape(-1, width))
            np.clip(place, 0, side + 1, out=place)
            np.floor(place, out=corner)
            place -= corner  # what is left of it is the way past the corner, 0 to 1
        upper, upper_right, lower, lower_right = self._values[:, :size]
        np.copyto(upper.reshape(height, -1), self._first[: n * width])
        corners[0] *= across
        upper += corners[0]
        upper += corners[1]
        index = self._index[:size]
        np.copyto(index, upper, casting="unsafe")
        np.copyto(self._canvas[:n, 1 : height + 1, 1 : width + 1], images)
        canvas = self._canvas.reshape(-1)
        for values, step in ((upper, 0), (upper_right, 1), (lower, across), (lower_right, across + 1)):
            np.take(canvas[step:], index, out=values, mode="clip")
        _blend(upper, upper_right, places[1])
        _blend(lower, lower_right, places[1])
        _blend(upper, lower, places[0])
        upper += 0.5  # what is cut off then is rounded
        np.copyto(out.transpose(1, 0, 2), upper.reshape(height, n, width), casting="unsafe")


def warp(
    images: UInt8s,
    matrices: NDArray[np.floating[Any]],
    offsets: NDArray[np.floating[Any]],
    *,
    out: UInt8s | None = None,
) -> UInt8s:
    """Draws images anew by an affine map each: bilinear, with black for what lies outside.

    A map leads from a place in the new image, (row, column) in pixels from the middle, to one in the old: the new
    pixel at p is the old image at matrix · p + offset. What is to happen first stands first in a product of maps.

    Args:
        images: the old ones.
        matrices: one for each image, or for all.
        offsets: likewise, in pixels.
        out: where to put the new ones.

    Shape:
        images: (n, H, W) uint8; matrices: (n, 2, 2) or (2, 2); offsets: (n, 2) or (2,) → (n, H, W) uint8
    """
    n = len(images)
    matrices, offsets = np.broadcast_to(matrices, (n, 2, 2)), np.broadcast_to(offsets, (n, 2))
    out = np.empty_like(images) if out is None else out
    resampler = Resampler(images.shape[1:], n)
    for start in range(0, n, resampler.at_once):
        rows = slice(start, start + resampler.at_once)
        coefs = resampler.coefs(len(images[rows]))
        resampler.place(coefs, matrices[rows], offsets[rows])
        resampler.resample(images[rows], coefs, out[rows])
    return out


def rotation_maps(degrees: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Returns the maps that turn images to the left by so many degrees; see `warp`.

    Shape: (n,) → (n, 2, 2)
    """
    angles = np.deg2rad(degrees)
    maps = np.empty((*angles.shape, 2, 2))
    maps[..., 0, 0] = maps[..., 1, 1] = np.cos(angles)
    maps[..., 0, 1] = np.sin(angles)
    maps[..., 1, 0] = -maps[..., 0, 1]
    return maps


def scaling_maps(down: NDArray[np.floating[Any]], across: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Returns the maps that make images so many times as high and as wide; see `warp`.

    Shape: (n,), (n,) → (n, 2, 2)
    """
    maps = np.zeros((*np.shape(down), 2, 2))
    maps[..., 0, 0], maps[..., 1, 1] = 1 / down, 1 / across
    return maps


def shear_maps(amount: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Returns the maps that slant images: to the right by so many columns for each row upwards; see `warp`.

    Shape: (n,) → (n, 2, 2)
    """
    maps = np.zeros((*amount.shape, 2, 2))
    maps[..., 0, 0] = maps[..., 1, 1] = 1
    maps[..., 1, 0] = amount
    return maps


def _basis(side: int, functions: Floats | None) -> Floats:
    """Returns the functions with the two of an affine map behind them. Shape: (side, m) → (side, m + 2)."""
    place = np.arange(side) - (side - 1) / 2
    before = [] if functions is None else [functions]
    return np.hstack([*before, np.stack([place, np.ones(side)], axis=1)]).astype(np.float32)


def _blend(first: Floats, second: Floats, part: Floats) -> None:
    """Goes that part of the way from the first to the second, in the memory of both; the first has the result."""
    second -= first
    second *= part
    first += second
