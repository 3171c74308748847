"""Intervals, and how much the best of many flatters itself: plain arithmetic on what was recorded."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnistnn.types import Floats, UInt8s
from sweeps.ensemble.evaluate import Interval, label_losses, loss_gain

__all__ = [
    "Answers",
    "Optimism",
    "binomial_error",
    "difference",
    "expected_maximum",
    "loss_interval",
    "normal_optimism",
    "resampled_optimism",
]

_Z = 1.959963984540054  # the normal quantile of 0.975
_RESAMPLES = 1000
_AT_ONCE = 100  # resamples whose counts are in memory together
_GRID = 4001


def difference(first: Interval, second: Interval) -> Interval:
    """Returns the 95 % interval of the difference of two shares of different images.

    Source: Newcombe 1998, method 10.

    Args:
        first: what `share_interval` gave.
        second: what is taken from it.
    """
    estimate = first.estimate - second.estimate
    low = estimate - math.hypot(first.estimate - first.low, second.high - second.estimate)
    high = estimate + math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(estimate, low, high)


def loss_interval(labels: UInt8s, probs: Floats) -> Interval:
    """Returns the mean cross-entropy of predictions with the ends of its 95 % interval, by a bootstrap over images.

    Shape:
        labels: (N,); probs: (N, classes)
    """
    certain = np.eye(probs.shape[1], dtype=probs.dtype)[labels]  # has no loss at all: the gain over us is our loss
    return loss_gain(labels, certain, probs)


def binomial_error(share: float, count: int) -> float:
    """Returns the standard error of a share of `count` images: what other images would have changed."""
    return math.sqrt(share * (1 - share) / count)


def expected_maximum(count: int) -> float:
    """Returns by how many standard deviations the largest of `count` normal draws lies above the mean, on average."""
    if count < 1:
        raise ValueError(f"`count >= 1` must hold, but got {count}.")
    normal = statistics.NormalDist()
    x = np.linspace(0.0, 10.0, _GRID)
    upper = np.array([normal.cdf(each) for each in x])
    # E[M] = ∫ (1 - F(x)^n) over x > 0, less ∫ F(x)^n over x < 0, where F(-x) = 1 - F(x).
    return float(np.trapezoid((1 - upper**count) - (1 - upper) ** count, x))


def normal_optimism(spread: float, error: float, count: int) -> float:
    """Returns by how much the best of `count` scores is too good on average, if scores are normal.

    A score is what a trial is worth plus the luck of the images. Of the scores' variance, error²/spread² is luck, and
    luck has the same part of what lifts the best above the mean. Where the spread is no larger than the error, all may
    be luck.

    Args:
        spread: the standard deviation of the scores.
        error: the standard error of one of them.
        count: how many there are.
    """
    return error**2 / max(spread, error) * expected_maximum(count) if error else 0.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What trials predicted for the same images: whether they were right, and their losses.

    Attributes:
        right: 1 where the likeliest class was the label.
        losses: the cross-entropies.

    Shape:
        right, losses: (trials, images)
    """

    right: NDArray[np.float32]
    losses: NDArray[np.float32]

    @classmethod
    def of(cls, labels: UInt8s, probs: Sequence[Floats]) -> Answers:
        """Builds them from the trials' predictions."""
        rows = np.arange(len(labels))
        right = np.array([each.argmax(axis=1) == labels for each in probs], np.float32)
        losses = np.array([label_losses(each[rows, labels]) for each in probs], np.float32)
        return cls(right, losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimism:
    """By how much the one that was chosen looks better than it is, on average.

    Attributes:
        accuracy: as a share of the images.
        loss: in nats.
        trials: among how many it was chosen.
        wins: how often each was chosen, of all resamples.
    """

    accuracy: float
    loss: float
    trials: int
    wins: tuple[float, ...]


def resampled_optimism(answers: Answers, *, by_accuracy: bool, seed: int = 0) -> Optimism:
    """Chooses the best again and again on images drawn anew, and looks how much worse it is on all of them.

    Trials that err on the same images have the same luck, which chooses nothing; this counts only the luck that does.
    Source: Efron 1983, the bootstrap's optimism.

    Args:
        answers: of all trials that there were to choose from.
        by_accuracy: choose by accuracy, else by loss.
        seed: of the resampling.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    trials, images = answers.right.shape
    whole = answers.right.mean(axis=1, dtype=np.float64), answers.losses.mean(axis=1, dtype=np.float64)
    chosen = int(whole[0].argmax() if by_accuracy else whole[1].argmin())
    gained = np.zeros(2)
    wins = np.zeros(trials, np.int64)
    for _ in range(_RESAMPLES // _AT_ONCE):
        counts = np.zeros((_AT_ONCE, images), np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(0, images, images, dtype=np.int32), minlength=images)
        right, losses = (counts @ each.T / images for each in (answers.right, answers.losses))  # (resamples, trials)
        best = right.argmax(axis=1) if by_accuracy else losses.argmin(axis=1)
        wins += np.bincount(best, minlength=trials)
        rows = np.arange(len(best))
        luck = right - whole[0], whole[1] - losses  # (resamples, trials); of each trial zero on average
        # Less that of the one that is chosen on all images: also zero on average, and most of the chance in the rest.
        gained += [(each[rows, best] - each[:, chosen]).sum() for each in luck]
    accuracy, loss = gained / _RESAMPLES
    return Optimism(accuracy=float(accuracy), loss=float(loss), trials=trials, wins=tuple(wins / _RESAMPLES))
