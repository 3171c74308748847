"""Test-time augmentation: what a network makes of an image is the mean over small shifts of it.

Five views: the image, and it moved by N pixels up, down, left and right. Diagonal ones would cost as much as all five
once more, and are the most alike to those that there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from mnistnn.types import Floats, UInt8s

if TYPE_CHECKING:
    from mnistnn.network import Network

__all__ = ["MOST_PIXELS", "VIEWS", "predict", "shifted"]

#: Farther than this the ink of most digits leaves the image.
MOST_PIXELS = 4

_SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
#: How many there are: so many times as long an answer takes.
VIEWS = len(_SHIFTS)


def shifted(images: UInt8s, down: int, right: int) -> UInt8s:
    """Returns images moved by whole pixels; what comes in is empty, as the ground is.

    Shape:
        images: (N, 28, 28) → (N, 28, 28), of the same type
    """
    found = np.zeros_like(images)
    height, width = images.shape[1:]
    rows, columns = (
        (slice(max(0, by), size + min(0, by)), slice(max(0, -by), size + min(0, -by)))
        for by, size in ((down, height), (right, width))
    )
    found[:, rows[0], columns[0]] = images[:, rows[1], columns[1]]
    return found


def predict(network: Network, images: UInt8s, pixels: int = 0) -> Floats:
    """Returns a network's softmax outputs, or with `pixels` their mean over five views.

    Shape:
        images: (N, 28, 28) → (N, 10) float32
    """
    if not pixels:
        return network.predict_proba(cast("Floats", images))
    total = np.zeros((len(images), network.classes))
    for down, right in _SHIFTS:
        total += network.predict_proba(cast("Floats", shifted(images, down * pixels, right * pixels)))
    return np.asarray(total / len(_SHIFTS), np.float32)
