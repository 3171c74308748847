"""A temperature: how sure probabilities are made, without a change of what they say.

Of an ensemble it is fitted after averaging: an average is less sure than its members, so members that are each
calibrated make an ensemble that is not. Source: Rahaman and Thiery 2020.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from mnistnn.metrics import log_probs
from mnistnn.types import Floats, Ints, UInt8s

__all__ = ["fit_temperature", "tempered"]

# Beyond these the data only say that all answers are right, or that none is: of few images both happen.
_COOLEST, _HOTTEST = 0.05, 20.0
_DIGITS = 4


def tempered(probs: Floats, temperature: float) -> Floats:
    """Returns softmax outputs with their logits divided by a temperature: above 1 they are less sure.

    The likeliest class stays the likeliest, in whatever way the result is rounded: what an ensemble answers does not
    depend on its temperature.

    Shape:
        probs: (N, classes) → (N, classes) float32
    """
    if temperature == 1.0:
        return probs
    logits = log_probs(probs) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits)
    found = np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
    answers = probs.argmax(axis=1)
    for row in np.flatnonzero(found.argmax(axis=1) != answers):  # two that were next to each other are equal now
        found[row, answers[row]] = np.nextafter(found[row].max(), np.float32(np.inf))
    return cast("Floats", found)


def fit_temperature(labels: Ints | UInt8s, probs: Floats) -> float:
    """Returns the temperature with the least cross-entropy. Source: Guo, Pleiss, Sun and Weinberger 2017.

    The cross-entropy is convex in 1 / temperature, so the zero of its slope is the one to find.

    Returns:
        The temperature, from 0.05 to 20, to four significant digits: what is kept in a record is what was used.

    Shape:
        labels: (N,); probs: (N, classes)
    """
    from scipy.optimize import brentq

    logits = log_probs(probs)
    logits -= logits.max(axis=1, keepdims=True)
    wanted = float(logits[np.arange(len(labels)), labels].mean())
    powers = np.empty_like(logits)

    def slope(inverse: float) -> float:
        np.exp(np.multiply(logits, inverse, out=powers), out=powers)
        expected = np.einsum("nc,nc->n", powers, logits) / powers.sum(axis=1)
        return float(expected.mean()) - wanted

    if slope(1 / _HOTTEST) >= 0:
        return _HOTTEST
    if slope(1 / _COOLEST) <= 0:
        return _COOLEST
    return float(f"{1 / brentq(slope, 1 / _HOTTEST, 1 / _COOLEST, xtol=1e-6, rtol=1e-6):.{_DIGITS}g}")
