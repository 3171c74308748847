"""How much each member counts: all the same, the weights of least loss, or chosen one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import nearest
from mnistnn.types import Floats, Ints
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.temperature import fit_temperature
from sweeps.errors import ConfigError

__all__ = [
    "AUTO",
    "METHODS",
    "bagged_greedy_weights",
    "check_method",
    "greedy_weights",
    "mean_weights",
    "simplex_weights",
]

#: The method that takes the mean, unless another is better by more than chance.
AUTO = "auto"
#: Picks after the sorted start. The loss stops falling far earlier; this only bounds the work.
MAX_PICKS = 200

# Caruana et al. 2004, section 2.3: each bag holds half of the library. Below _LEAST of them a bag of a few is not a
# sample of the library but another one, and its weak members would be chosen for want of better ones.
_BAGS = 20
_LEAST = 5
_SEED = 0xBA6

_NEGLIGIBLE = 1e-3  # a weight that changes no answer, but takes a network's time
_STEP = 1e-4


def mean_weights(evidence: Evidence) -> NDArray[np.float64]:
    """Weighs all members alike. What they predicted is not looked at, so it cannot be overfitted."""
    return np.full(len(evidence.probs), 1.0 / len(evidence.probs))


def simplex_weights(evidence: Evidence) -> NDArray[np.float64]:
    """Returns the weights whose average has the least loss after a temperature, which is fitted with them.

    Without the temperature the weights would also serve to make the average surer or less sure, and an average of
    smoothed members would pay for what a temperature mends for nothing. The loss does not change with the scale of the
    weights, so bounds at zero are all that L-BFGS-B must be told.

    Returns:
        The weights, which sum to one; zero where a member is worth less than a thousandth.

    Shape: → (M,)
    """
    from scipy.optimize import minimize

    count = len(evidence.probs)
    start = np.ones(count + 1)  # equal weights, temperature 1
    bounds = [(0.0, None)] * count + [(0.05, 20.0)]
    found = minimize(_calibrated_loss, start, args=(evidence,), jac=True, method="L-BFGS-B", bounds=bounds)
    weights = found.x[:count]
    if not weights.sum() > 0:
        return mean_weights(evidence)
    weights = np.where(weights < _NEGLIGIBLE * weights.sum(), 0.0, weights)
    # Rounded, so that the last bits of an optimizer's work make no other ensemble on another machine.
    weights = np.round(weights / weights.sum() / _STEP) * _STEP
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def _calibrated_loss(values: NDArray[np.float64], evidence: Evidence) -> tuple[float, NDArray[np.float64]]:
    """Returns the loss of the average to the power of the last value (1 / temperature), and its gradient.

    With shares s of members for an image, q = Σ s p; softmax(b log q) has the loss log Σ exp(b log q_c) - b log q_y.
    """
    *_, inverse = values
    weights, rows = values[:-1], np.arange(len(evidence))
    total = weights @ evidence.seen  # (N,)
    is_bare = total <= 0  # nobody with a weight has seen these: nothing of them depends on the weights
    shares = evidence.shares(weights)
    q = np.zeros(evidence.probs.shape[1:])  # (N, classes)
    for share, probs in zip(shares, evidence.probs, strict=True):
        q += share[:, None] * probs
    np.maximum(q, np.finfo(np.float32).tiny, out=q)
    logs = np.log(q)
    powers = np.exp(inverse * logs)
    norm = powers.sum(axis=1)
    loss = float(np.mean(np.log(norm) - inverse * logs[rows, evidence.labels]))
    soft = powers / norm[:, None]
    by_inverse = float(np.mean(np.einsum("nc,nc->n", soft, logs) - logs[rows, evidence.labels]))
    by_q = soft
    by_q[rows, evidence.labels] -= 1.0
    by_q *= inverse / q
    by_q /= np.where(is_bare, np.inf, total)[:, None]
    own = np.einsum("nc,nc->n", by_q, q)
    by_weights = [
        float(np.mean(seen * (np.einsum("nc,nc->n", by_q, probs) - own)))
        for seen, probs in zip(evidence.seen, evidence.probs, strict=True)
    ]
    return loss, np.array([*by_weights, by_inverse])


def greedy_weights(evidence: Evidence, temperature: float | None = None) -> NDArray[np.float64]:
    """Chooses members one by one, with replacement, as long as the average's loss falls.

    The start is that prefix of the list whose mean has the least loss; a start from nothing would take whichever
    member happens to fit these labels best. A member that is chosen twice counts twice.

    An image that nobody chosen has predicted counts with the loss of the plain mean of all who have: the same whoever
    is left out, so it speaks for no choice among those that do not answer it. Were it not counted, the best choice
    would be whoever has the easiest images.
    Source: Caruana et al. 2004, "Ensemble selection from libraries of models", sections 2.1 and 2.2.

    Args:
        evidence: of the members, the best first.
        temperature: the average's, by which its loss is taken; by default that of the plain mean. Without one the
            surest members would be chosen, however often they are wrong.

    Returns:
        The members' weights, which sum to one; zero where a member was not chosen.

    Shape: → (M,)
    """
    plain = evidence.combine(mean_weights(evidence))
    inverse = np.float32(1 / (temperature or fit_temperature(evidence.labels, plain)))
    fallback = _losses(plain, evidence.labels, inverse)  # of the images that nobody chosen has seen
    # A member changes the average on the images that it has seen, and nowhere else.
    places: list[Any] = [slice(None) if seen.all() else np.flatnonzero(seen) for seen in evidence.seen]
    total, count, losses = np.zeros_like(plain), np.zeros(len(plain), np.float32), fallback.copy()

    def with_one_more(member: int) -> NDArray[np.float32]:
        rows = places[member]
        average = (total[rows] + evidence.probs[member, rows]) / (count[rows] + 1)[:, None]
        return _losses(average, evidence.labels[rows], inverse)

    def take(member: int, then: NDArray[np.float32]) -> None:
        rows = places[member]
        total[rows] += evidence.probs[member, rows]
        count[rows] += 1
        losses[rows] = then

    prefix_losses = []
    for member in range(len(places)):
        take(member, with_one_more(member))
        prefix_losses.append(losses.sum(dtype=np.float64))
    # Of equal ones the longest: where each member has images of its own, none says anything about the others.
    start = int(np.flatnonzero(np.array(prefix_losses) <= min(prefix_losses) * (1 + 1e-9))[-1])
    for values, first in ((total, 0.0), (count, 0.0), (losses, fallback)):
        values[...] = first
    chosen = np.zeros(len(places), np.int64)
    for member in range(start + 1):
        take(member, with_one_more(member))
        chosen[member] += 1
    for _ in range(MAX_PICKS):
        found = [with_one_more(member) for member in range(len(places))]
        gains = [float(np.sum(losses[rows] - then, dtype=np.float64)) for rows, then in zip(places, found, strict=True)]
        best = int(np.argmax(gains))
        if not gains[best] > 0:
            break
        take(best, found[best])
        chosen[best] += 1
    weights: NDArray[np.float64] = chosen / chosen.sum()
    return weights


def _losses(average: Floats, labels: Ints, inverse: np.float32) -> NDArray[np.float32]:
    """Returns each image's loss by the softmax outputs to the power of 1 / temperature."""
    logs = np.log(np.maximum(average, np.finfo(np.float32).tiny))
    norms = np.log(np.exp(inverse * logs).sum(axis=1))
    return cast("NDArray[np.float32]", norms - inverse * logs[np.arange(len(labels)), labels])


def bagged_greedy_weights(evidence: Evidence) -> NDArray[np.float64]:
    """Chooses greedily from twenty random halves of the members, and adds up what was chosen.

    A large library always holds some combination that fits these labels by luck; in most bags it is not whole. Of up
    to five members each bag is all of them. Source: Caruana et al. 2004, section 2.3.
    """
    count = len(evidence.probs)
    size = max(min(count, _LEAST), (count + 1) // 2)
    if size == count:
        return greedy_weights(evidence)
    temperature = fit_temperature(evidence.labels, evidence.combine(mean_weights(evidence)))
    rng = np.random.Generator(np.random.PCG64(_SEED))
    total = np.zeros(count)
    for _ in range(_BAGS):
        bag = np.sort(rng.permutation(count)[:size])  # the best first, as the start wants them
        total[bag] += greedy_weights(evidence.of(bag.tolist()), temperature)
    weights = np.where(total < _NEGLIGIBLE * total.sum(), 0.0, total)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


METHODS: dict[str, Callable[[Evidence], NDArray[np.float64]]] = {
    "mean": mean_weights,
    "weighted": simplex_weights,
    "greedy": bagged_greedy_weights,
}


def check_method(method: str) -> str:
    """Returns `method` if it is one.

    Raises:
        ConfigError: there is no such method.
    """
    if method not in (AUTO, *METHODS):
        raise ConfigError(f"unknown ensemble method {method!r}; {nearest(method, (AUTO, *METHODS))}")
    return method
