"""How long an epoch takes: a cost for each kind of work, known roughly beforehand and learnt from trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeps.study.workload import KINDS, Workload

__all__ = ["EpochTimeModel"]

#: Seconds for one of each kind, as `python -m tests.sweeps.study.epoch_times` found them: what matters is how they
#: compare, for a machine's own speed shows in its first trial.
_FIRST_COSTS: Final = {
    "epochs": 2.0e-02,
    "steps": 4.4e-05,
    "images": 2.4e-06,
    "layer_calls": 4.3e-05,
    "first_conv_macs": 6.8e-11,
    "conv_macs": 5.5e-11,
    "first_patches": 3.4e-10,
    "patches": 1.9e-10,
    "patches_back": 2.1e-10,
    "map_numbers": 1.0e-10,
    "normed_numbers": 1.0e-09,
    "drawn_numbers": 1.4e-09,
    "other_numbers": 1.0e-10,
    "dense_macs": 7.7e-11,
    "vector_numbers": 3.7e-10,
    "augmented_images": 5.6e-06,
    "warped_images": 7.0e-06,
}

# How far a cost may lie from what the machine's speed makes of the first one, in squares of a trial's own noise.
_STIFFNESS = 0.08
# The weight of a trial halves with so many after it: a machine that others use does not keep its speed.
_HALF_LIFE = 12.0
# An epoch of so many seconds counts for half: a disk or a neighbour delays a short one by more of itself.
_BRIEF_S = 1.0
# Before any trial the estimate is taken to be so far off; it counts as so many trials afterwards.
_FIRST_SPREAD, _FIRST_WEIGHT = 0.2, 3.0
_SWEEPS = 200
_TOLERANCE = 1e-6


class EpochTimeModel:
    """Seconds of an epoch as a sum of costs, none below zero.

    Least squares on the relative error, so that small nets count like large ones, and a ridge towards one and the same
    multiple of all first costs: the first trial says how fast the machine is, those after it what is dear on it. What
    two workers cost each other is in what is observed, and so in the estimates.
    """

    def __init__(self) -> None:
        self._first = np.array([_FIRST_COSTS[kind] for kind in KINDS])
        self._costs = self._first
        self.observations = 0
        self.spread = _FIRST_SPREAD

    def fit(self, workloads: Sequence[Workload], seconds: Sequence[float]) -> None:
        """Learns from observed epochs, the oldest first; what was learnt before is forgotten.

        Shape: workloads: n times (kinds,), seconds: (n,)
        """
        self._costs, self.observations, self.spread = self._first, len(seconds), _FIRST_SPREAD
        if not self.observations:
            return
        work, took = np.array(workloads), np.array(seconds)  # (n, kinds), (n,)
        weights = 0.5 ** (np.arange(len(took))[::-1] / _HALF_LIFE)  # (n,)
        weights *= took / (took + _BRIEF_S)
        weights /= weights.max()
        costs = self._first * _weighted_median(took / (work @ self._first), weights)
        shares = work * costs / took[:, None]  # (n, kinds): of the observed time; a perfect model's add up to 1
        self._costs = costs * _factors(shares, weights)
        errors = work @ self._costs / took - 1
        known = weights @ errors**2 + _FIRST_WEIGHT * _FIRST_SPREAD**2
        self.spread = float(np.sqrt(known / (weights.sum() + _FIRST_WEIGHT)))

    def seconds(self, workload: Workload) -> float:
        """Returns how long an epoch of such work takes."""
        return float(workload @ self._costs)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    heavier = np.cumsum(weights[order]) >= weights.sum() / 2
    return float(values[order][np.argmax(heavier)])


def _factors(shares: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns by how much each cost must be multiplied for the shares to add up to 1, as nearly as is likely.

    Minimises Σ wᵢ (Σⱼ sᵢⱼ fⱼ - 1)² + stiffness · Σⱼ (fⱼ - mean f)² over f ≥ 0, one factor after another. SciPy has
    this too, but takes as long to import as all else that a worker needs.
    """
    count = shares.shape[1]
    weighted = shares * weights[:, None]
    matrix = weighted.T @ shares + _STIFFNESS * (np.eye(count) - 1 / count)  # (kinds, kinds)
    target = weighted.sum(axis=0)  # (kinds,)
    factors = np.ones(count)
    for _ in range(_SWEEPS):
        before = factors.copy()
        for j in range(count):
            rest = target[j] - matrix[j] @ factors + matrix[j, j] * factors[j]
            factors[j] = max(0.0, rest / matrix[j, j])
        if np.abs(factors - before).max() < _TOLERANCE:
            break
    return factors
