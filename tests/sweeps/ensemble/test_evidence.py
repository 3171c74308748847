from __future__ import annotations

import numpy as np
import pytest

from mnistnn.errors import CheckpointError
from sweeps.ensemble.averaging import average
from sweeps.ensemble.evidence import Evidence, join
from sweeps.ensemble.predictions import Predictions


def _said(indices: list[int], seed: int, labels: np.ndarray) -> Predictions:
    probs = np.random.default_rng(seed).dirichlet(np.ones(10), len(indices)).astype(np.float32)
    return Predictions(probs, labels[indices], np.array(indices), f"trials/{seed:05d}/val_probs.npz")


LABELS = np.arange(20) % 10


def test_members_that_saw_the_same_images_are_averaged_as_ever() -> None:
    said = [_said([2, 5, 9], seed, LABELS) for seed in range(3)]
    evidence = join(said)
    assert evidence.is_full
    np.testing.assert_array_equal(evidence.labels, [2, 5, 9])
    weights = (0.5, 0.3, 0.2)
    np.testing.assert_array_equal(evidence.combine(weights), average([each.probs for each in said], weights))


def test_an_image_is_answered_by_those_who_were_not_trained_on_it() -> None:
    a, b, c = _said([0, 1, 2], 0, LABELS), _said([2, 3], 1, LABELS), _said([3, 0], 2, LABELS)
    evidence = join([a, b, c])
    np.testing.assert_array_equal(evidence.indices, [0, 1, 2, 3])
    np.testing.assert_array_equal(evidence.seen, [[1, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]])
    found = evidence.combine((0.5, 0.25, 0.25))
    np.testing.assert_allclose(found[0], (2 * a.probs[0] + c.probs[1]) / 3, rtol=1e-6)
    np.testing.assert_allclose(found[1], a.probs[1], rtol=1e-6)
    np.testing.assert_allclose(found[2], (2 * a.probs[2] + b.probs[0]) / 3, rtol=1e-6)
    np.testing.assert_allclose(found[3], (b.probs[1] + c.probs[0]) / 2, rtol=1e-6)
    labels, probs = evidence.member(2)
    np.testing.assert_array_equal(labels, [0, 3])
    np.testing.assert_array_equal(probs, c.probs[::-1])


def test_leaving_a_member_out_leaves_none_of_its_images_out() -> None:
    a, b = _said([0, 1], 0, LABELS), _said([1, 2], 1, LABELS)
    evidence = join([a, b])
    found = evidence.combine((1.0, 0.0))
    np.testing.assert_allclose(found[1], a.probs[1], rtol=1e-6)
    np.testing.assert_allclose(found[2], b.probs[1], rtol=1e-6)
    alone = evidence.of([0])
    np.testing.assert_array_equal(alone.indices, [0, 1])
    assert alone.is_full


def test_an_image_of_members_left_out_is_answered_as_the_mean_answers_it() -> None:
    """So it tells no way of weighing from the mean, and none is better for leaving out who alone has predicted it."""
    said = [_said([0, 1, 2], 0, LABELS), _said([2, 3, 4], 1, LABELS), _said([3, 4, 5], 2, LABELS)]
    evidence = join(said)
    plain = evidence.combine(np.full(3, 1 / 3))
    for weights in ((1.0, 0.0, 0.0), (0.3, 0.7, 0.0), (0.0, 0.0, 1.0)):
        bare = ~evidence.seen[np.array(weights) > 0].any(axis=0)
        assert bare.any()
        np.testing.assert_array_equal(evidence.combine(weights)[bare], plain[bare])


def test_the_shares_of_an_image_sum_to_one() -> None:
    rng = np.random.default_rng(5)
    seen = rng.random((6, 50)) < 0.3
    seen[rng.integers(0, 6, 50), np.arange(50)] = True
    evidence = Evidence(np.arange(50), np.zeros(50, int), rng.random((6, 50, 10)).astype(np.float32), seen)
    for weights in (np.full(6, 1 / 6), np.array([0.5, 0.5, 0, 0, 0, 0]), np.array([0, 0, 0, 0, 0, 1.0])):
        shares = evidence.shares(weights)
        np.testing.assert_allclose(shares.sum(axis=0), 1)
        assert not shares[~seen].any()


def test_members_of_other_data_are_refused() -> None:
    with pytest.raises(CheckpointError, match="trials/00001/val_probs.npz belongs to others") as caught:
        join([_said([0, 1], 0, LABELS), _said([1, 2], 1, LABELS[::-1].copy())])
    assert "\n" not in str(caught.value)
