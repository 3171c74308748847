"""How much each member counts: all the same, the weights of least loss, or chosen one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import nearest
from sweeps.ensemble.evaluate import label_losses
from sweeps.ensemble.evidence import Evidence
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
    bounds = [(0.0, None)] * count + [(0.1, 10.0)]
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


def greedy_weights(evidence: Evidence) -> NDArray[np.float64]:
    """Chooses members one by one, with replacement, as long as the average's loss falls.

    The start is that prefix of the list whose mean has the least loss; a start from nothing would take whichever
    member happens to fit these labels best. A member that is chosen twice counts twice.
    Source: Caruana et al. 2004, "Ensemble selection from libraries of models", sections 2.1 and 2.2.

    Args:
        evidence: of the members, the best first.

    Returns:
        The members' weights, which sum to one; zero where a member was not chosen.

    Shape: → (M,)
    """
    # The loss of an average needs only what each member gives to the right class.
    given, seen = evidence.given(), evidence.seen.astype(np.float64)  # (M, N)
    fallback = given.sum(axis=0) / seen.sum(axis=0)  # of the images that nobody chosen has seen
    sizes = np.arange(1, len(given) + 1)
    prefix_losses = np.array(
        [_loss(total, count, fallback) for total, count in zip(given.cumsum(axis=0), seen.cumsum(axis=0), strict=True)]
    )
    start = int(prefix_losses.argmin())
    counts = (sizes <= start + 1).astype(np.int64)
    total, weight, best = given[: start + 1].sum(axis=0), seen[: start + 1].sum(axis=0), prefix_losses[start]
    for _ in range(MAX_PICKS):
        losses = [_loss(total + given[i], weight + seen[i], fallback) for i in range(len(given))]
        choice = int(np.argmin(losses))
        if not losses[choice] < best:
            break
        best = losses[choice]
        counts[choice] += 1
        total += given[choice]
        weight += seen[choice]
    weights: NDArray[np.float64] = counts / counts.sum()
    return weights


def _loss(total: NDArray[np.float64], weight: NDArray[np.float64], fallback: NDArray[np.float64]) -> float:
    average = np.divide(total, weight, out=fallback.copy(), where=weight > 0)
    return float(label_losses(cast("NDArray[np.float32]", average)).mean())


def bagged_greedy_weights(evidence: Evidence) -> NDArray[np.float64]:
    """Chooses greedily from twenty random halves of the members, and adds up what was chosen.

    A large library always holds some combination that fits these labels by luck; in most bags it is not whole. Of up
    to five members each bag is all of them. Source: Caruana et al. 2004, section 2.3.
    """
    count = len(evidence.probs)
    size = max(min(count, _LEAST), (count + 1) // 2)
    if size == count:
        return greedy_weights(evidence)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    total = np.zeros(count)
    for _ in range(_BAGS):
        bag = np.sort(rng.permutation(count)[:size])  # the best first, as the start wants them
        total[bag] += greedy_weights(
            Evidence(evidence.indices, evidence.labels, evidence.probs[bag], evidence.seen[bag])
            if evidence.is_full
            else evidence.of(bag.tolist())
        )
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
