"""Softmax with cross-entropy, into buffers."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from mnistnn.types import Floats, Ints

__all__ = ["SoftmaxCrossEntropy", "softmax"]


def softmax(logits: Floats, out: Floats | None = None) -> Floats:
    """Returns exp(z) / Σ exp(z) along the last axis; the largest logit is taken off first, so nothing overflows."""
    shifted: Floats = np.subtract(logits, logits.max(axis=-1, keepdims=True), out=out)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


class SoftmaxCrossEntropy:
    """The mean of -Σ t log softmax(z) over a batch, from logits, so that no logarithm of zero is ever taken.

    The targets t are 1 - s + s/K for the label and s/K for the other classes, with s the label smoothing.
    Source: Szegedy et al. 2016.

    Args:
        classes: K.
        max_batch: the rows of the largest batch.
        label_smoothing: s.
        dtype: that of the logits.
    """

    def __init__(
        self, classes: int, max_batch: int, *, label_smoothing: float = 0.0, dtype: DTypeLike = np.float32
    ) -> None:
        self._smoothing = label_smoothing
        self._classes = classes
        self._shifted = np.empty((max_batch, classes), dtype)
        self._probs = np.empty((max_batch, classes), dtype)
        self._rows = np.arange(max_batch)
        self.correct = 0
        self.plain_loss = 0.0

    def forward(self, logits: Floats, labels: Ints) -> float:
        """Returns the loss; `correct` then counts the hits and `plain_loss` is the loss without smoothing.

        Shape:
            logits: (B, classes); labels: (B,)
        """
        n = len(logits)
        shifted, probs, rows = self._shifted[:n], self._probs[:n], self._rows[:n]
        self.correct = int(np.count_nonzero(logits.argmax(axis=1) == labels))
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=shifted)
        np.exp(shifted, out=probs)
        sums = probs.sum(axis=1, keepdims=True)
        probs /= sums
        log_sums = np.log(sums[:, 0])  # each sum is at least 1
        self._labels = labels
        self.plain_loss = float(np.mean(log_sums - shifted[rows, labels], dtype=np.float64))
        if not self._smoothing:
            return self.plain_loss
        to_uniform = float(np.mean(log_sums - shifted.mean(axis=1), dtype=np.float64))
        return (1 - self._smoothing) * self.plain_loss + self._smoothing * to_uniform

    def backward(self) -> Floats:
        """Returns the gradient by the last batch's logits, (softmax(z) - t) / B.

        Shape:
            (B, classes)
        """
        n = len(self._labels)
        dlogits = self._probs[:n]
        dlogits[self._rows[:n], self._labels] -= 1 - self._smoothing
        if self._smoothing:
            dlogits -= self._smoothing / self._classes
        dlogits /= n
        return dlogits
