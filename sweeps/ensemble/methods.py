"""Which way of weighing members is the best: each is fitted on a part of the evidence, and scored on the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.ensemble.evaluate import Interval, label_losses, mean_gain
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.selection import AUTO, METHODS
from sweeps.ensemble.temperature import fit_temperature, tempered

__all__ = ["MethodScore", "Weighing", "best_method", "weigh"]

_FOLDS = 5
# Where fewer of the images have two answers, what is fitted to them would drop members that they say nothing about.
_LEAST_OVERLAP = 0.5
_SEED = 0xF01D


@dataclass(frozen=True, slots=True)
class MethodScore:
    """What a way of weighing is worth on images that its weights were not fitted on.

    Attributes:
        method: its name.
        loss: the mean cross-entropy after a temperature, weights and temperature of four fifths on the other fifth.
        accuracy: likewise.
        gain: by how much the loss is lower than that of the plain mean, on the same images.
        members: how many members it keeps when it is fitted on everything.
    """

    method: str
    loss: float
    accuracy: float
    gain: Interval
    members: int


@dataclass(frozen=True, slots=True, eq=False)
class Weighing:
    """The weights that were taken, and why.

    Attributes:
        method: the way that they were found.
        weights: they sum to one; zero for who is left out.
        scores: those of all ways, if they were compared.
    """

    method: str
    weights: NDArray[np.float64]
    scores: tuple[MethodScore, ...] = ()


def weigh(evidence: Evidence, method: str, *, compare: bool = False) -> Weighing:
    """Weighs the members by a method, or by the one that "auto" finds.

    "auto" takes the plain mean, which fits nothing, unless another method is better on images that its weights were not
    fitted on, by an interval clear of zero; of several such it takes the one that gains the most.

    Args:
        evidence: of the members, the best first.
        method: a name in `METHODS`, or "auto".
        compare: whether to score all methods even where one was named; never where few images have two answers.
    """
    named = "mean" if method == AUTO else method
    if len(evidence.probs) == 1 or len(evidence) < 2:
        return Weighing(named, METHODS["mean"](evidence))
    is_told = evidence.overlap >= _LEAST_OVERLAP  # which way is better
    if not is_told or (method != AUTO and not compare):
        return Weighing(named, _levelled(evidence, METHODS[named](evidence)))
    weights = {name: _levelled(evidence, fit(evidence)) for name, fit in METHODS.items()}
    outcomes = {name: _cross_fit(evidence, fit) for name, fit in METHODS.items()}
    losses, _ = outcomes["mean"]
    scores = tuple(
        MethodScore(
            method=name,
            loss=float(own.mean()),
            accuracy=float(right.mean()),
            gain=mean_gain(losses - own),
            members=int(np.count_nonzero(weights[name])),
        )
        for name, (own, right) in outcomes.items()
    )
    if method == AUTO:
        method = best_method(scores)
    return Weighing(method, weights[method], scores)


def best_method(scores: Sequence[MethodScore]) -> str:
    """Returns what "auto" takes: of those whose gain is clear of zero the one that gains the most, or else the mean."""
    better = [score for score in scores if score.gain.low > 0]
    return max(better, key=lambda score: score.gain.estimate).method if better else "mean"


def _levelled(evidence: Evidence, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns weights of which each group of members that are compared with each other has its plain share.

    Members of a final stage that left out the same part are compared on its images, and with no others. How much such a
    group weighs in all changes no answer to any image, so whatever a method says of that is an accident. Where a method
    leaves out a whole group, nothing has been said against it.
    """
    if evidence.is_full:
        return weights
    from scipy.sparse.csgraph import connected_components

    seen = evidence.seen.astype(np.float32)
    _, group = connected_components(seen @ seen.T > 0, directed=False)
    sizes, totals = np.bincount(group)[group], np.bincount(group, weights)[group]
    within = np.divide(weights, totals, out=1.0 / sizes, where=totals > 0)
    levelled: NDArray[np.float64] = within * sizes / len(weights)
    return levelled


def _cross_fit(
    evidence: Evidence, fit: Callable[[Evidence], NDArray[np.float64]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Returns each image's loss and whether it is right, by weights and a temperature that were fitted without it.

    All ways are held against each other on the same images. One that only members without a weight have predicted is
    answered as the plain mean answers it, so it makes a gain over that neither larger nor smaller, but for the
    temperature; what is left out can show on the images that others have predicted too, and nowhere else.
    """
    count = len(evidence)
    order = np.random.Generator(np.random.PCG64(_SEED)).permutation(count)
    losses, right = np.empty(count), np.empty(count, bool)
    for held in np.array_split(order, min(_FOLDS, count)):
        rest = np.setdiff1d(order, held)
        weights = fit(evidence.rows(rest))
        temperature = fit_temperature(evidence.labels[rest], evidence.rows(rest).combine(weights))
        labels, probs = evidence.labels[held], tempered(evidence.rows(held).combine(weights), temperature)
        losses[held] = label_losses(probs[np.arange(len(held)), labels])
        right[held] = probs.argmax(axis=1) == labels
    return losses, right
