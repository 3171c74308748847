from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistnn.metrics import cross_entropy
from sweeps.ensemble.selection import METHODS, check_method, greedy_weights, mean_weights
from sweeps.errors import ConfigError


def _loss(weights: np.ndarray, probs: list[np.ndarray], labels: np.ndarray) -> float:
    return cross_entropy(labels, sum(w * p.astype(np.float64) for w, p in zip(weights, probs, strict=True)))


@given(seed=st.integers(0, 10_000), members=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_weights_sum_to_one_and_greedy_is_never_worse_than_its_start(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 60)
    probs = [rng.dirichlet(np.full(10, 0.5), 60).astype(np.float32) for _ in range(members)]
    probs.sort(key=lambda member: cross_entropy(labels, member))
    for method in METHODS.values():
        weights = method(probs, labels)
        assert weights.shape == (members,)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()
    greedy = _loss(greedy_weights(probs, labels), probs, labels)
    for size in range(1, members + 1):
        prefix = np.zeros(members)
        prefix[:size] = 1 / size
        assert greedy <= _loss(prefix, probs, labels) + 1e-9


def test_greedy_leaves_out_what_does_not_help() -> None:
    labels = np.arange(10)
    good = np.full((10, 10), 0.01, np.float32)
    good[labels, labels] = 0.91
    bad = np.full((10, 10), 0.1, np.float32)
    assert greedy_weights([good, bad, bad], labels).tolist() == [1, 0, 0]
    assert mean_weights([good, bad, bad], labels).tolist() == [1 / 3] * 3


def test_greedy_takes_a_member_twice_where_that_helps() -> None:
    # Two members, each right on its own images; the first is right on twice as many.
    labels = np.zeros(30, int)
    probs = []
    for right in (slice(0, 20), slice(20, 30)):
        member = np.full((30, 10), 0.99 / 9, np.float32)
        member[:, 0] = 0.01
        member[right] = 0.1 / 9
        member[right, 0] = 0.9
        probs.append(member)
    weights = greedy_weights(probs, labels)
    shares = np.linspace(0, 1, 1001)
    best = shares[np.argmin([_loss(np.array([w, 1 - w]), probs, labels) for w in shares])]
    assert best > 0.6
    assert weights[0] == pytest.approx(best, abs=0.02)


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="'gredy'; did you mean 'greedy'"):
        check_method("gredy")
