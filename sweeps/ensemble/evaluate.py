"""What an ensemble is worth: accuracy, loss, confusion, and its gain over one net with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnistnn.metrics import accuracy, cross_entropy
from mnistnn.types import Floats, Ints

__all__ = [
    "Interval",
    "Score",
    "accuracy_gain",
    "confusion_matrix",
    "label_losses",
    "loss_gain",
    "mean_gain",
    "score",
    "share_interval",
]

_Z = 1.959963984540054  # the normal quantile of 0.975
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy (a share, not a percentage) and mean cross-entropy (nats) on one set of images."""

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


def score(labels: Ints, probs: Floats) -> Score:
    """Returns accuracy and loss of softmax outputs. Shape: (N,), (N, classes)."""
    return Score(accuracy(labels, probs), cross_entropy(labels, probs))


def share_interval(share: float, count: int) -> Interval:
    """Returns a share of `count` images with its 95 % interval, which never leaves 0 to 1.

    Source: Wilson 1927; recommended by Brown, Cai and DasGupta 2001.

    Raises:
        ValueError: it is no share, or there are no images.
    """
    if not 0 <= share <= 1 or count < 1:
        raise ValueError(f"a share from 0 to 1 of at least one image must be given, but got {share} of {count}.")
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def accuracy_gain(labels: Ints, ours: Floats, theirs: Floats) -> Interval:
    """Returns how much more accurate `ours` is than `theirs` on the same images.

    Only the images that one of the two gets wrong count. The adjusted Wald interval adds one to either kind, so that
    it does not shrink to nothing when they agree on all images, as a bootstrap would.
    Source: Bonett and Price 2012; recommended by Fagerland, Lydersen and Laake 2014 for paired proportions.

    Shape:
        labels: (N,); ours, theirs: (N, classes)
    """
    right, other = ours.argmax(axis=1) == labels, theirs.argmax(axis=1) == labels
    n = len(labels)
    won, lost = int(np.sum(right & ~other)), int(np.sum(other & ~right))
    p, q = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    half = _Z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return Interval((won - lost) / n, max(-1.0, p - q - half), min(1.0, p - q + half))


def loss_gain(labels: Ints, ours: Floats, theirs: Floats, *, seed: int = 0) -> Interval:
    """Returns by how much the loss of `ours` is lower than that of `theirs` on the same images.

    The interval is a percentile bootstrap over images, which keeps each image's two losses together: a few images
    carry most of a loss, so no normal distribution is assumed.
    Source: Efron and Tibshirani 1993, chapter 13.

    Args:
        labels: the images' labels.
        ours: the softmax outputs whose gain is asked for.
        theirs: those that they are compared with.
        seed: of the resampling.

    Shape:
        labels: (N,); ours, theirs: (N, classes)
    """
    return mean_gain(_losses(labels, theirs) - _losses(labels, ours), seed=seed)


def mean_gain(differences: NDArray[np.float64], *, seed: int = 0) -> Interval:
    """Returns the mean of what each image's loss fell by, with a percentile bootstrap. Shape: (N,)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    n = len(differences)
    means = [differences[rng.integers(0, n, n, dtype=np.int32)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(differences.mean()), float(low), float(high))


def confusion_matrix(labels: Ints, probs: Floats) -> NDArray[np.int64]:
    """Counts the images of each label (row) by the class that was predicted (column).

    Shape:
        labels: (N,); probs: (N, classes) → (classes, classes)
    """
    classes = probs.shape[1]
    pairs = labels.astype(np.int64) * classes + probs.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def label_losses(given: Floats) -> NDArray[np.float64]:
    """Returns the cross-entropy of each image from the probability that its own label was given; never infinite."""
    return -np.log(np.maximum(given, np.finfo(np.float32).tiny, dtype=np.float64))


def _losses(labels: Ints, probs: Floats) -> NDArray[np.float64]:
    return label_losses(probs[np.arange(len(labels)), labels])
