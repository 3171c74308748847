"""Whether a difference is more than chance: of two nets on the same images, and of two recipes over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mnistnn.types import Floats, Ints
from sweeps.ensemble.evaluate import Interval, accuracy_gain, loss_gain

__all__ = ["Contrast", "Paired", "holm", "mcnemar", "mean_difference", "mean_interval", "paired", "paired_difference"]

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Paired:
    """Two nets on the same images.

    Attributes:
        images: how many.
        only_first: on how many only the first one is right.
        only_second: on how many only the second one is.
        p_value: how often chance alone would part those images as unevenly, were both nets equally good.
        accuracy: by how much the first one is the more accurate.
        loss: by how much its loss is lower.
    """

    images: int
    only_first: int
    only_second: int
    p_value: float
    accuracy: Interval
    loss: Interval


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference of two means, with its 95 % interval and its p-value."""

    difference: Interval
    p_value: float


def paired(labels: Ints, first: Floats, second: Floats) -> Paired:
    """Compares two nets' softmax outputs for the same images. Shape: (N,), (N, classes) twice."""
    right, other = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    won, lost = int(np.sum(right & ~other)), int(np.sum(other & ~right))
    return Paired(
        images=len(labels),
        only_first=won,
        only_second=lost,
        p_value=mcnemar(won, lost),
        accuracy=accuracy_gain(labels, first, second),
        loss=loss_gain(labels, first, second),
    )


def mcnemar(won: int, lost: int) -> float:
    """Returns the p-value of McNemar's exact test: equally good nets share what only one of them gets right.

    Source: McNemar 1947; exact by the binomial distribution.

    Args:
        won: how many only the first one gets right.
        lost: how many only the second one does.
    """
    from scipy.stats import binomtest

    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Returns the mean of a few values with its 95 % t-interval; None for less than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    n = len(values)
    half = float(t.ppf((1 + _LEVEL) / 2, n - 1)) * math.sqrt(float(np.var(values, ddof=1)) / n)
    mean = float(np.mean(values))
    return Interval(mean, mean - half, mean + half)


def mean_difference(first: Sequence[float], second: Sequence[float]) -> Contrast:
    """Compares the means of two recipes over seeds, at least two of each.

    The seeds of two recipes have nothing in common but their numbers, so nothing is gained by pairing them: that would
    halve the degrees of freedom. Nor do the recipes vary alike. So it is Welch's test and interval.
    Source: Welch 1947.
    """
    from scipy.stats import t

    a, b = (float(np.var(values, ddof=1)) / len(values) for values in (first, second))
    difference = float(np.mean(first) - np.mean(second))
    if a + b == 0.0:  # all alike: there is no spread to measure by
        return Contrast(Interval(difference, difference, difference), 1.0 if difference == 0.0 else 0.0)
    error = math.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    half = float(t.ppf((1 + _LEVEL) / 2, freedom)) * error
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return Contrast(Interval(difference, difference - half, difference + half), p_value)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Contrast | None:
    """Compares two recipes that were trained by the same seeds, pair by pair; None for less than two pairs.

    What a seed brings to both (the images' order, the first weights) cancels out. Student's interval and test of the
    differences' mean. Source: Student 1908.

    Args:
        first: a figure of the one, seed by seed.
        second: the same of the other, by the same seeds.
    """
    from scipy.stats import t

    differences = [a - b for a, b in zip(first, second, strict=True)]
    interval = mean_interval(differences)
    if interval is None:
        return None
    error = math.sqrt(float(np.var(differences, ddof=1)) / len(differences))
    if error == 0.0:  # all alike: there is no spread to measure by
        return Contrast(interval, 1.0 if interval.estimate == 0.0 else 0.0)
    return Contrast(interval, float(2 * t.sf(abs(interval.estimate) / error, len(differences) - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number: below 0.05 means that in 95 % of families none is so by chance.

    Source: Holm 1979.
    """
    count, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
