from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistnn.metrics import cross_entropy
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.selection import (
    METHODS,
    _calibrated_loss,
    bagged_greedy_weights,
    check_method,
    greedy_weights,
    mean_weights,
    simplex_weights,
)
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.errors import ConfigError


def _loss(weights: np.ndarray, probs: list[np.ndarray], labels: np.ndarray) -> float:
    """The loss of an average by the temperature of the plain mean, which a greedy choice goes by."""
    evidence = Evidence.full(probs, labels)
    temperature = fit_temperature(labels, evidence.combine(mean_weights(evidence)))
    return cross_entropy(labels, tempered(evidence.combine(weights), temperature))


@given(seed=st.integers(0, 10_000), members=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_weights_sum_to_one_and_greedy_is_never_worse_than_its_start(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, 60)
    probs = [rng.dirichlet(np.full(10, 0.5), 60).astype(np.float32) for _ in range(members)]
    probs.sort(key=lambda member: cross_entropy(labels, member))
    for method in METHODS.values():
        weights = method(Evidence.full(probs, labels))
        assert weights.shape == (members,)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()
    greedy = _loss(greedy_weights(Evidence.full(probs, labels)), probs, labels)
    for size in range(1, members + 1):
        prefix = np.zeros(members)
        prefix[:size] = 1 / size
        assert greedy <= _loss(prefix, probs, labels) + 1e-5


def test_greedy_leaves_out_what_does_not_help() -> None:
    labels = np.arange(10)
    good = np.full((10, 10), 0.01, np.float32)
    good[labels, labels] = 0.91
    bad = np.full((10, 10), 0.1, np.float32)
    evidence = Evidence.full([good, bad, bad], labels)
    assert greedy_weights(evidence, 1.0).tolist() == [1, 0, 0]
    assert bagged_greedy_weights(evidence).tolist() == greedy_weights(evidence).tolist()  # a bag holds all of them
    assert mean_weights(evidence).tolist() == [1 / 3] * 3


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
    evidence = Evidence.full(probs, labels)
    weights = greedy_weights(evidence, 1.0)
    shares = np.linspace(0, 1, 1001)
    best = shares[np.argmin([cross_entropy(labels, evidence.combine((w, 1 - w))) for w in shares])]
    assert best > 0.6
    assert weights[0] == pytest.approx(best, abs=0.02)


def test_an_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="'gredy'; did you mean 'greedy'"):
        check_method("gredy")


def _evidence(members: int, count: int, seed: int, *, masked: bool) -> Evidence:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(10, 0.5), (members, count)).astype(np.float32)
    means = probs.mean(axis=0, dtype=np.float64)
    labels = np.array([rng.choice(10, p=row / row.sum()) for row in means])
    seen = np.ones((members, count), bool)
    if masked:
        seen = rng.random((members, count)) < 0.5
        seen[rng.integers(0, members, count), np.arange(count)] = True
    return Evidence(np.arange(count), labels, np.where(seen[..., None], probs, np.float32(0)), seen)


@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_the_weights_is_that_of_the_loss(masked: bool) -> None:
    evidence = _evidence(4, 30, 1, masked=masked)
    point = np.array([0.4, 0.1, 0.9, 0.3, 1.7])
    _, gradient = _calibrated_loss(point, evidence)
    for index in range(5):
        step = np.zeros(5)
        step[index] = 1e-5
        ahead, behind = (_calibrated_loss(point + sign * step, evidence)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((ahead - behind) / 2e-5, abs=1e-7)


@pytest.mark.parametrize("masked", [False, True])
def test_no_weights_nearby_are_better_than_those_that_were_found(masked: bool) -> None:
    evidence = _evidence(3, 120, 2, masked=masked)

    def loss(weights: np.ndarray) -> float:
        probs = evidence.combine(weights)
        return cross_entropy(evidence.labels, tempered(probs, fit_temperature(evidence.labels, probs)))

    found = simplex_weights(evidence)
    assert found.sum() == pytest.approx(1)
    rng = np.random.default_rng(0)
    assert all(loss(found) <= loss(other) + 1e-5 for other in rng.dirichlet(np.ones(3), 200))


def test_bags_spread_what_one_greedy_choice_bets_on() -> None:
    """A library of equals: one choice bets on the few that fit these labels, bags on more of them."""
    evidence = _evidence(20, 60, 3, masked=False)
    once, bagged = greedy_weights(evidence), bagged_greedy_weights(evidence)
    assert 1 / np.sum(bagged**2) > 1.2 / np.sum(once**2)
    assert bagged.max() < once.max()
    np.testing.assert_array_equal(bagged, bagged_greedy_weights(evidence))
