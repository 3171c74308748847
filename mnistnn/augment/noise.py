"""Noise: the same digit, by a poor camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from mnistnn.augment._base import AugmentationSpec, Augmenter, Stage
from mnistnn.domains import FloatRange
from mnistnn.registry import augmentation
from mnistnn.types import Shape, UInt8s

__all__ = ["Noise"]


@augmentation("noise")
@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(AugmentationSpec):
    """Add Gaussian noise to each pixel, cut off at black and white; each image's own deviation is 0 to `sigma`.

    So a net sees clean images too, by which it is judged.

    Units: pixel units, of which white has 255.
    """

    stage: ClassVar[Stage] = Stage.CAMERA

    sigma: Annotated[float, FloatRange(0.0, 128.0)] = 16.0

    @property
    def is_idle(self) -> bool:
        """Whether there is none."""
        return self.sigma == 0

    def build(self, image_shape: Shape = (28, 28), max_batch: int = 100) -> Augmenter:
        """Builds the augmenter."""
        return _Grain(self.sigma, image_shape, max_batch)


class _Grain:
    """Adds what it draws to the images as floats."""

    def __init__(self, sigma: float, image_shape: Shape, max_batch: int) -> None:
        self._sigma = sigma
        self._noise, self._value = (np.empty((max_batch, *image_shape), np.float32) for _ in range(2))
        self._out = np.empty((max_batch, *image_shape), np.uint8)

    def __call__(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        """Shape: images: (b, H, W) → the same."""
        n = len(images)
        noise, value, out = self._noise[:n], self._value[:n], self._out[:n]
        sigmas = rng.uniform(0, self._sigma, n).astype(np.float32)
        rng.standard_normal(out=noise, dtype=np.float32)
        np.copyto(value, sigmas[:, None, None])
        noise *= value
        np.copyto(value, images)
        value += noise
        np.clip(value, 0, 255, out=value)
        value += 0.5  # what is cut off then is rounded
        np.copyto(out, value, casting="unsafe")
        return out
