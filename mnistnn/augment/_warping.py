"""Warps: augmentations that only say where each pixel comes from, so that any number of them takes one resampling."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mnistnn.augment._base import AugmentationSpec, Augmenter
from mnistnn.augment._resampling import Resampler
from mnistnn.types import Floats, Shape, UInt8s

__all__ = ["AffineSpec", "BendSpec", "Maps", "WarpSpec", "Warper"]

Maps = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Affine maps, from places in the new images to places in the old: matrices (n, 2, 2) and offsets (n, 2) in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpSpec(AugmentationSpec, ABC):
    """A Spec that says where each pixel comes from.

    Attributes:
        resamples: whether it has to be interpolated by itself, too; what moves whole pixels has not.
    """

    resamples: ClassVar[bool] = True

    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Builds what does this warp alone."""
        return Warper([self], image_shape, max_batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineSpec(WarpSpec, ABC):
    """A warp that leaves straight lines straight."""

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Maps:
        """Draws a map for each of `n` images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BendSpec(WarpSpec, ABC):
    """A warp by a displacement of each pixel, a sum of products of functions of its row and of its column."""

    @abstractmethod
    def basis(self, side: int) -> Floats:
        """Returns the functions, at each place of an axis so long. Shape: (side, m)."""

    @abstractmethod
    def draw(self, coefs: Floats, rng: np.random.Generator) -> None:
        """Writes what each product counts, in pixels, on both axes. Shape: (2, rows' m, n, columns' m)."""


class Warper:
    """Does several warps as one: the affine ones in the order given, and what bends by pixels of the old image."""

    def __init__(self, specs: Sequence[WarpSpec], image_shape: Shape, max_batch: int) -> None:
        self._affine = [spec for spec in specs if isinstance(spec, AffineSpec)]
        self._bends = [spec for spec in specs if isinstance(spec, BendSpec)]
        height, width = image_shape
        rows = [spec.basis(height) for spec in self._bends]
        columns = [spec.basis(width) for spec in self._bends]
        bases = (np.hstack(rows), np.hstack(columns)) if rows else (None, None)
        self._resampler = Resampler(image_shape, max_batch, *bases)
        self._counts = [(down.shape[1], across.shape[1]) for down, across in zip(rows, columns, strict=True)]
        most = max((down * across for down, across in self._counts), default=0)
        self._drawn = np.empty(2 * self._resampler.at_once * most, np.float32)
        self._out = np.empty((max_batch, height, width), np.uint8)

    def __call__(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        """Shape: images: (b, H, W) → the same."""
        n = len(images)
        out, at_once = self._out[:n], self._resampler.at_once
        matrices, offsets = self._maps(n, rng)
        for start in range(0, n, at_once):
            rows = slice(start, min(start + at_once, n))
            coefs = self._resampler.coefs(rows.stop - start)
            self._bend(coefs, rng)
            self._resampler.place(coefs, matrices[rows], offsets[rows])
            self._resampler.resample(images[rows], coefs, out[rows])
        return out

    def _maps(self, n: int, rng: np.random.Generator) -> Maps:
        """Draws the affine maps, and makes one of all."""
        matrices, offsets = np.broadcast_to(np.eye(2), (n, 2, 2)), np.zeros((n, 2))
        for spec in self._affine:
            matrix, offset = spec.draw(n, rng)
            offsets += np.matmul(matrices, offset[:, :, None])[:, :, 0]
            matrices = matrices @ matrix
        return matrices, offsets

    def _bend(self, coefs: Floats, rng: np.random.Generator) -> None:
        """Draws the displacements, each bend's among its own functions."""
        row = column = 0
        n = coefs.shape[2]
        for spec, (rows, columns) in zip(self._bends, self._counts, strict=True):
            drawn = self._drawn[: 2 * rows * n * columns].reshape(2, rows, n, columns)
            spec.draw(drawn, rng)
            coefs[:, row : row + rows, :, column : column + columns] = drawn
            row, column = row + rows, column + columns
