"""Digits of another source altogether, brought to 28×28 as MNIST's were.

Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits": digits that 43 people wrote, scaled to
bitmaps of 32×32, of which each 4×4 pixels were counted. scikit-learn comes with the 1,797 of its test part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistnn.data import all_as_mnist
from mnistnn.types import Ints, UInt8s

__all__ = ["HOW", "NAME", "other_digits"]

NAME = "other digits"
HOW = "scikit-learn's 1,797, of 13 other writers, brought to 28×28 as MNIST's were"

_CELL = 4  # pixels of the bitmap a side that were counted into one


def other_digits() -> tuple[UInt8s, Ints]:
    """Returns scikit-learn's digits as MNIST would show them.

    What was counted is drawn as a bitmap again, by interpolating the counts and taking what is at least half full:
    lines then have edges, as NIST's scans had from which MNIST was made. Then `as_mnist` scales and centres them.

    Shape: → (1797, 28, 28) uint8, (1797,)
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    side = found.images.shape[1] * _CELL
    bitmaps = np.empty((len(found.images), side, side), np.uint8)
    for counts, bitmap in zip(found.images, bitmaps, strict=True):
        smooth = Image.fromarray(counts.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        bitmap[...] = np.where(np.asarray(smooth) >= _CELL**2 / 2, 255, 0)
    framed = np.pad(bitmaps, ((0, 0), (_CELL, _CELL), (_CELL, _CELL)))  # they fill their frames; a ground is needed
    return all_as_mnist(framed)[0], found.target.astype(np.int64)
