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
        self._sums = np.empty((max_batch, 1), dtype)
        self._log_sums, self._losses = np.empty((2, max_batch), dtype)
        self._likeliest = np.empty(max_batch, np.intp)
        self._ones = np.ones((classes, 1), dtype)
        self._rows = np.arange(max_batch)
        self._starts = classes * self._rows  # of each row among all numbers
        self.correct = 0
        self.plain_loss = 0.0

    def forward(self, logits: Floats, labels: Ints) -> float:
        """Returns the loss; `correct` then counts the hits and `plain_loss` is the loss without smoothing.

        A row has few numbers, for which NumPy's sums and maxima along it are slow: the sum is a product with ones, and
        the maximum is what `argmax` has found.

        Shape:
            logits: (B, classes); labels: (B,)
        """
        n = len(logits)
        shifted, probs, sums, losses = self._shifted[:n], self._probs[:n], self._sums[:n], self._losses[:n]
        rows = self._rows[:n]
        likeliest = logits.argmax(axis=1, out=self._likeliest[:n])
        self.correct = int(np.count_nonzero(likeliest == labels))
        np.subtract(logits, logits[rows, likeliest, None], out=shifted)
        np.exp(shifted, out=probs)
        np.matmul(probs, self._ones, out=sums)
        log_sums = np.log(sums[:, 0], out=self._log_sums[:n])  # each sum is at least 1
        self._labels = labels
        np.subtract(log_sums, shifted[rows, labels], out=losses)
        self.plain_loss = float(np.add.reduce(losses, dtype=np.float64)) / n
        if not self._smoothing:
            return self.plain_loss
        np.matmul(shifted, self._ones[:, 0], out=losses)
        losses /= self._classes
        np.subtract(log_sums, losses, out=losses)
        to_uniform = float(np.add.reduce(losses, dtype=np.float64)) / n
        return (1 - self._smoothing) * self.plain_loss + self._smoothing * to_uniform

    def backward(self) -> Floats:
        """Returns the gradient by the last batch's logits, (softmax(z) - t) / B.

        Shape:
            (B, classes)
        """
        n = len(self._labels)
        dlogits, sums = self._probs[:n], self._sums[:n]
        sums *= n
        dlogits /= sums
        dlogits.reshape(-1)[self._starts[:n] + self._labels] -= (1 - self._smoothing) / n
        if self._smoothing:
            dlogits -= self._smoothing / (self._classes * n)
        return dlogits
