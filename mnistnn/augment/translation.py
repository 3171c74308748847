"""Translation: the same digit, a little aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mnistnn.augment._base import AugmentationSpec, Augmenter
from mnistnn.domains import IntRange
from mnistnn.registry import augmentation
from mnistnn.types import Shape, UInt8s

__all__ = ["Translation"]


@augmentation("translation")
@dataclass(frozen=True, slots=True, kw_only=True)
class Translation(AugmentationSpec):
    """Move each image by up to `shift` pixels along each axis, every move equally likely; fill with zeros."""

    shift: Annotated[int, IntRange(0, 8)] = 2

    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Builds the augmenter; without a shift it hands its images back."""
        return _Translator(self.shift, image_shape, max_batch) if self.shift else lambda images, rng: images


class _Translator:
    """Lays each image into a canvas that is `shift` larger on every side, and cuts out the middle."""

    def __init__(self, shift: int, image_shape: Shape, max_batch: int) -> None:
        height, width = image_shape
        self._shift = shift
        self._canvas = np.empty((max_batch, height + 2 * shift, width + 2 * shift), np.uint8)
        self._middle = self._canvas[:, shift : shift + height, shift : shift + width]
        # (B, 2 shift + 1, 2 shift + 1, H, W): every place where an image can lie
        self._places = sliding_window_view(self._canvas, (height, width), axis=(1, 2), writeable=True)
        self._rows = np.arange(max_batch)
        self._out = np.empty((max_batch, height, width), np.uint8)

    def __call__(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        """Shape: images: (b, H, W) → the same."""
        n = len(images)
        out = self._out[:n]
        down, right = rng.integers(0, 2 * self._shift, size=(2, n), endpoint=True)
        self._canvas[:n] = 0
        self._places[self._rows[:n], down, right] = images
        np.copyto(out, self._middle[:n])
        return out
