"""How much each member counts: all the same, or chosen greedily by validation loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import nearest
from mnistnn.types import Floats, Ints
from sweeps.ensemble.evaluate import label_losses
from sweeps.errors import ConfigError

__all__ = ["METHODS", "check_method", "greedy_weights", "mean_weights"]

#: Picks after the sorted start. The loss stops falling far earlier; this only bounds the work.
MAX_PICKS = 200


def mean_weights(probs: Sequence[Floats], labels: Ints) -> NDArray[np.float64]:
    """Weighs all members alike. What they predict is not looked at, so the validation set cannot be overfitted."""
    return np.full(len(probs), 1.0 / len(probs))


def greedy_weights(probs: Sequence[Floats], labels: Ints) -> NDArray[np.float64]:
    """Chooses members one by one, with replacement, as long as the average's validation loss falls.

    The start is that prefix of the list whose mean has the least loss; a start from nothing would take whichever
    member happens to fit these labels best. A member that is chosen twice counts twice.
    Source: Caruana et al. 2004, "Ensemble selection from libraries of models", sections 2.1 and 2.2.

    Args:
        probs: each member's softmax outputs on the validation images, the best member first.
        labels: the validation labels.

    Returns:
        The members' weights, which sum to one; zero where a member was not chosen.

    Shape:
        probs: M times (N, classes); labels: (N,) → (M,)
    """
    rows = np.arange(len(labels))
    # The loss of an average needs only what each member gives to the right class.
    given = np.stack([member[rows, labels] for member in probs]).astype(np.float64)  # (M, N)
    sizes = np.arange(1, len(probs) + 1)
    prefix_losses = label_losses(np.cumsum(given, axis=0) / sizes[:, None]).mean(axis=1)
    start = int(prefix_losses.argmin())
    counts = (sizes <= start + 1).astype(np.int64)
    total, best = given[: start + 1].sum(axis=0), prefix_losses[start]
    for picked in range(start + 1, start + 1 + MAX_PICKS):
        losses = label_losses((total + given) / (picked + 1)).mean(axis=1)
        choice = int(losses.argmin())
        if not losses[choice] < best:
            break
        best = losses[choice]
        counts[choice] += 1
        total += given[choice]
    weights: NDArray[np.float64] = counts / counts.sum()
    return weights


METHODS: dict[str, Callable[[Sequence[Floats], Ints], NDArray[np.float64]]] = {
    "mean": mean_weights,
    "greedy": greedy_weights,
}


def check_method(method: str) -> str:
    """Returns `method` if it is one.

    Raises:
        ConfigError: there is no such method.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown ensemble method {method!r}; {nearest(method, METHODS)}")
    return method
