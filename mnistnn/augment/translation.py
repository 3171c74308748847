"""Translation: the same digit, a little aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mnistnn.augment._base import Augmenter
from mnistnn.augment._warping import AffineSpec, Maps
from mnistnn.domains import IntRange
from mnistnn.registry import augmentation
from mnistnn.types import Shape, UInt8s

__all__ = ["Translation"]


@augmentation("translation")
@dataclass(frozen=True, slots=True, kw_only=True)
class Translation(AffineSpec):
    """Move each image by up to `shift` pixels along each axis, every move equally likely; fill with zeros."""

    resamples: ClassVar[bool] = False
    stays: ClassVar[bool] = True

    shift: Annotated[int, IntRange(0, 8)] = 2

    @property
    def is_idle(self) -> bool:
        """Whether nothing moves."""
        return self.shift == 0

    def draw(self, n: int, rng: np.random.Generator) -> Maps:
        """Draws a move for each of `n` images, the one that `build` draws."""
        down, right = _moves(self.shift, n, rng)
        return np.broadcast_to(np.eye(2), (n, 2, 2)), self.shift - np.stack([down, right], axis=1).astype(np.float64)

    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Builds the augmenter; without a shift it hands its images back."""
        return _Translator(self.shift, image_shape, max_batch) if self.shift else lambda images, rng: images


class _Translator:
    """Moves images as rows of H · W bytes: one by d rows and r columns is the same bytes, d · W + r further on.

    They are laid so into rows that are longer at both ends, out of which the middle is cut. What runs over the end of
    one picture row into the next is zeroed in the same pass.
    """

    def __init__(self, shift: int, image_shape: Shape, max_batch: int) -> None:
        height, width = image_shape
        size, margin = height * width, shift * (width + 1)
        self._shift, self._width = shift, width
        self._canvas = np.empty((max_batch, margin + size + margin), np.uint8)
        self._middle = self._canvas[:, margin : margin + size]
        # (B, 2 · margin + 1, H · W): every place where an image can lie
        self._places = sliding_window_view(self._canvas, size, axis=1, writeable=True)
        columns = np.arange(width) - np.arange(-shift, shift + 1)[:, None]  # (2 · shift + 1, W): where each comes from
        inside = np.where((columns >= 0) & (columns < width), 255, 0).astype(np.uint8)
        self._inside = np.tile(inside, height)  # (2 · shift + 1, H · W)
        self._rows = np.arange(max_batch)
        self._kept = np.empty((max_batch, size), np.uint8)
        self._out = np.empty((max_batch, height, width), np.uint8)

    def __call__(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        """Shape: images: (b, H, W) → the same."""
        n = len(images)
        out, kept = self._out[:n], self._kept[:n]
        down, right = _moves(self._shift, n, rng)
        np.take(self._inside, right, axis=0, out=kept, mode="clip")
        down *= self._width
        down += right
        self._canvas[:n] = 0
        self._places[self._rows[:n], down] = images.reshape(kept.shape)
        np.bitwise_and(self._middle[:n], kept, out=out.reshape(kept.shape))
        return out


def _moves(shift: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws where each image comes to lie, downwards and to the right, from `shift` before its place. Shape: (2, n)."""
    return rng.integers(0, 2 * shift, size=(2, n), endpoint=True)
