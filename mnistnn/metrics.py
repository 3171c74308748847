"""How good predictions are, and a curve made smooth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import DataError
from mnistnn.types import Floats, Ints

__all__ = ["accuracy", "calibrated_loss", "cross_entropy", "log_probs", "moving_average"]

#: Between logits divided by 20 and multiplied by 20 lies whatever a trained net needs.
_SHARPEST: Final = 20.0
_STEPS: Final = 30


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


def calibrated_loss(labels: Ints, logits: Floats) -> float:
    """Returns the least cross-entropy that these outputs have under any temperature.

    A net trained with smoothed labels is less sure than it could be, and its plain loss says so; what it gives to an
    average of nets is not touched by that. The loss is convex in the inverse of the temperature, so Newton's method
    finds the least one. Source: Guo, Pleiss, Sun and Weinberger 2017.

    Args:
        labels: the right classes.
        logits: the outputs before the softmax, or the `log_probs` of what came out of it: that is the same.

    Shape:
        labels: (N,); logits: (N, classes)

    Raises:
        DataError: no images, or numbers of labels and rows that differ.
    """
    _check(labels, logits)
    logits = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
    right = logits[np.arange(len(labels)), labels].mean()
    power = 1.0
    for _ in range(_STEPS):
        shares = np.exp(power * logits)
        shares /= shares.sum(axis=1, keepdims=True)
        means = (shares * logits).sum(axis=1)  # (N,)
        slope = means.mean() - right
        bend = ((shares * logits**2).sum(axis=1) - means**2).mean()
        if not bend > 0:  # all outputs are one and the same, or beyond what a float can tell
            break
        # No farther than by half or twice at once: far from the least, the parabola says little.
        least, most = max(power / 2, 1 / _SHARPEST), min(power * 2, _SHARPEST)
        step = float(np.clip(power - slope / bend, least, most))
        if abs(step - power) <= 1e-6 * power:
            break
        power = step
    return float(np.log(np.exp(power * logits).sum(axis=1)).mean() - power * right)


def log_probs(probs: Floats) -> NDArray[np.float64]:
    """Returns the logarithms of probabilities; one that was rounded to 0 counts as the smallest normal float32."""
    return np.log(np.maximum(probs, np.finfo(np.float32).tiny).astype(np.float64))


def moving_average(values: Sequence[float] | Floats, window: int = 2) -> NDArray[np.float64]:
    """Returns, for each value, the mean of the last `window` values up to it; of fewer at the start.

    Raises:
        DataError: `window` is below 1.
    """
    if window < 1:
        raise DataError(f"`window >= 1` must hold, but got (window={window}).")
    curve = np.asarray(values, np.float64)
    return np.array([curve[max(0, i + 1 - window) : i + 1].mean() for i in range(len(curve))], np.float64)


def _check(labels: Ints, outputs: Floats) -> None:
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or not labels.size:
        raise DataError(
            f"labels (N,) and outputs (N, classes) with N ≥ 1 must be given, but got {labels.shape} and "
            f"{outputs.shape}."
        )
