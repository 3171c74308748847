"""Cutout: the same digit, with something lying on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from mnistnn.augment._base import AugmentationSpec, Augmenter, Stage
from mnistnn.domains import IntRange
from mnistnn.registry import augmentation
from mnistnn.types import Shape, UInt8s

__all__ = ["Cutout"]


@augmentation("cutout")
@dataclass(frozen=True, slots=True, kw_only=True)
class Cutout(AugmentationSpec):
    """Black out a square of each image, of up to `size` pixels a side, about any pixel; what lies outside is lost.

    Source: DeVries and Taylor 2017, whose squares are all of one size.
    """

    stage: ClassVar[Stage] = Stage.COVER

    size: Annotated[int, IntRange(0, 14)] = 6

    @property
    def is_idle(self) -> bool:
        """Whether nothing is hidden."""
        return self.size == 0

    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Builds the augmenter."""
        return _Cover(self.size, image_shape, max_batch)


class _Cover:
    """Makes a mask out of the rows and the columns that each square hides."""

    def __init__(self, size: int, image_shape: Shape, max_batch: int) -> None:
        self._size, self._shape = size, image_shape
        # By side and centre: which places of an axis are hidden.
        self._hidden = [_hidden(size, length) for length in image_shape]  # (size + 1, length, length)
        self._masks = [np.empty((max_batch, length), np.uint8) for length in image_shape]
        self._mask = np.empty((max_batch, *image_shape), np.uint8)
        self._out = np.empty((max_batch, *image_shape), np.uint8)

    def __call__(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        """Shape: images: (b, H, W) → the same."""
        n = len(images)
        sides = rng.integers(0, self._size, n, endpoint=True)
        masks = [mask[:n] for mask in self._masks]
        for length, hidden, mask in zip(self._shape, self._hidden, masks, strict=True):
            at = sides * length + rng.integers(0, length, n)
            np.take(hidden.reshape(-1, length), at, axis=0, out=mask, mode="clip")
        mask, out = self._mask[:n], self._out[:n]
        np.copyto(mask, masks[0][:, :, None])
        np.copyto(out, masks[1][:, None, :])
        mask &= out
        np.invert(mask, out=mask)
        return np.bitwise_and(images, mask, out=out)


def _hidden(size: int, length: int) -> NDArray[np.uint8]:
    """Returns 255 where a square of the first index's side about the second index's place hides the third's."""
    sides, centres, places = np.ogrid[: size + 1, :length, :length]
    first = centres - sides // 2
    return np.where((places >= first) & (places < first + sides), 255, 0).astype(np.uint8)
