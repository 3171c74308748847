"""Thickness: the same digit, with a broader or a finer pen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mnistnn.augment._base import AugmentationSpec, Augmenter, Stage
from mnistnn.domains import FloatRange
from mnistnn.registry import augmentation
from mnistnn.types import Shape, UInt8s

__all__ = ["Thickness"]


@augmentation("thickness")
@dataclass(frozen=True, slots=True, kw_only=True)
class Thickness(AugmentationSpec):
    """Let the strokes of each image grow or shrink by up to `amount` pixels on either side.

    A whole pixel is a grey dilation, or erosion, with a cross of five pixels; less of it lies as far between the image
    and that. Outside it is black.

    Source: grey morphology, Serra 1982.
    """

    stage: ClassVar[Stage] = Stage.PEN

    amount: Annotated[float, FloatRange(0.0, 1.0)] = 0.5

    @property
    def is_idle(self) -> bool:
        """Whether every stroke stays as it is."""
        return self.amount == 0

    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Builds the augmenter."""
        return _Pen(self.amount, image_shape, max_batch)


class _Pen:
    """Goes over all images as one long row of bytes, in which a pixel's neighbours stand 1 and W + 1 away.

    Between the rows there is a black pixel, and between the images a black row: none has a neighbour in another.
    """

    def __init__(self, amount: float, image_shape: Shape, max_batch: int) -> None:
        self._amount = amount
        self._height, self._width = height, width = image_shape
        self._across = across = width + 1
        # One black row before each image, and one more behind the last.
        self._size = (height + 1) * across
        self._canvas = np.zeros(max_batch * self._size + across, np.uint8)
        self._grown, self._shrunk = np.empty_like(self._canvas), np.empty_like(self._canvas)
        self._change, self._amounts, self._value = (np.empty((max_batch, self._size), np.uint16) for _ in range(3))
        self._out = np.empty((max_batch, height, width), np.uint8)

    def __call__(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        """Shape: images: (b, H, W) → the same."""
        n, across = len(images), self._across
        amounts = np.rint(rng.uniform(-self._amount, self._amount, n) * 256)[:, None]
        out, size = self._out[:n], n * self._size
        if not n:
            return out
        canvas, grown, shrunk = (each[: size + across] for each in (self._canvas, self._grown, self._shrunk))
        self._pixels(canvas[:size])[...] = images
        inner = slice(across, size)
        middle = canvas[inner]
        for extreme, result in ((np.maximum, grown[inner]), (np.minimum, shrunk[inner])):
            extreme(canvas[across - 1 : size - 1], canvas[across + 1 : size + 1], out=result)
            extreme(result, canvas[: size - across], out=result)
            extreme(result, canvas[2 * across :], out=result)
            extreme(result, middle, out=result)
        grown[inner] -= middle
        np.subtract(middle, shrunk[inner], out=shrunk[inner])
        value = self._value[:n]
        np.copyto(value, canvas[:size].reshape(n, -1))
        value += self._part(grown[:size], np.maximum(amounts, 0))
        value -= self._part(shrunk[:size], np.maximum(-amounts, 0))
        np.copyto(out, self._pixels(value), casting="unsafe")
        return out

    def _pixels(self, canvas: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.unsignedinteger[Any]]:
        """Returns the view of a canvas that is the images."""
        return canvas.reshape(-1, self._height + 1, self._across)[:, 1:, : self._width]

    def _part(self, change: UInt8s, amounts: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Returns so many 256ths of a change for each image. Shape: (n, 1)."""
        part, factors = self._change[: len(amounts)], self._amounts[: len(amounts)]
        np.copyto(part, change.reshape(part.shape))
        np.copyto(factors, amounts.astype(np.uint16))
        part *= factors
        part += 128
        part >>= 8
        return part
