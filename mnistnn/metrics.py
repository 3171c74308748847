"""How good predictions are, and a curve made smooth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import DataError
from mnistnn.types import Floats, Ints

__all__ = ["accuracy", "cross_entropy", "moving_average"]


def accuracy(labels: Ints, probs: Floats) -> float:
    """Returns the share of images whose likeliest class is their label.

    Shape:
        labels: (N,); probs: (N, classes)

    Raises:
        DataError: no images, or numbers of labels and rows that differ.
    """
    _check(labels, probs)
    return float(np.mean(probs.argmax(axis=1) == labels))


def cross_entropy(labels: Ints, probs: Floats) -> float:
    """Returns the mean of -log(probability of the label).

    A probability that was rounded to 0 counts as the smallest normal number of its type, so the result is finite.

    Shape:
        labels: (N,); probs: (N, classes)

    Raises:
        DataError: no images, or numbers of labels and rows that differ.
    """
    _check(labels, probs)
    chosen = probs[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(chosen, np.finfo(probs.dtype).tiny)), dtype=np.float64))


def moving_average(values: Sequence[float] | Floats, window: int = 2) -> NDArray[np.float64]:
    """Returns, for each value, the mean of the last `window` values up to it; of fewer at the start.

    Raises:
        DataError: `window` is below 1.
    """
    if window < 1:
        raise DataError(f"`window >= 1` must hold, but got (window={window}).")
    curve = np.asarray(values, np.float64)
    return np.array([curve[max(0, i + 1 - window) : i + 1].mean() for i in range(len(curve))], np.float64)


def _check(labels: Ints, probs: Floats) -> None:
    if probs.ndim != 2 or labels.shape != probs.shape[:1] or not labels.size:
        raise DataError(
            f"labels (N,) and probs (N, classes) with N ≥ 1 must be given, but got {labels.shape} and {probs.shape}."
        )
