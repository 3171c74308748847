"""Parting images into equal parts, of which a training leaves one out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnistnn.types import UInt8s

__all__ = ["deal"]


def deal(labels: UInt8s, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Deals images out into `count` parts, class by class, so that every part has the whole's proportions.

    Both the parts' sizes and their shares of each class differ by one image at most.

    Shape: labels: (N,) → (N,) int64, each image's part, from 0
    """
    dealt = np.empty(len(labels), np.int64)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    dealt[order] = np.arange(len(labels)) % count
    return dealt
