from __future__ import annotations

import math

import numpy as np
import pytest

from sweeps.ensemble.difference import mean_interval
from sweeps.ensemble.evaluate import Interval, share_interval
from sweeps.views.report.statistics import (
    Answers,
    binomial_error,
    difference,
    expected_maximum,
    loss_interval,
    normal_optimism,
    resampled_optimism,
)
from tests.sweeps.views.recorded import predictions


def test_wilson() -> None:
    found = share_interval(0.9, 100)  # 90 of 100, as in any table
    assert (found.low, found.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    whole = share_interval(1.0, 50)
    assert whole.high == 1.0
    assert whole.low == pytest.approx(50 / (50 + 1.96**2), abs=1e-4)


@pytest.mark.parametrize(("share", "count"), [(1.1, 10), (-0.1, 10), (math.nan, 10), (0.5, 0)])
def test_no_share_has_no_interval(share: float, count: int) -> None:
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        share_interval(share, count)


def test_newcombe() -> None:
    found = difference(share_interval(56 / 70, 70), share_interval(48 / 80, 80))  # of Newcombe 1998, table II
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_student() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.estimate, found.high) == pytest.approx((2.0, 2 + 4.30265 / math.sqrt(3)), abs=1e-4)
    assert mean_interval([1.0]) is None


@pytest.mark.parametrize(("count", "value"), [(1, 0.0), (2, 0.56419), (3, 0.84628), (10, 1.53875), (100, 2.50759)])
def test_expected_maximum(count: int, value: float) -> None:
    assert expected_maximum(count) == pytest.approx(value, abs=2e-5)


def test_optimism_of_normal_scores() -> None:
    error = binomial_error(0.9, 100)
    assert error == pytest.approx(0.03)
    assert normal_optimism(0.01, error, 10) == pytest.approx(0.03 * 1.53875, abs=1e-5)  # all may be luck
    assert normal_optimism(0.06, error, 10) == pytest.approx(0.015 * 1.53875, abs=1e-5)  # a quarter of the variance
    assert normal_optimism(0.0, 0.0, 10) == 0.0


def test_normal_optimism_is_what_comes_out() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    worth = rng.normal(0, 0.04, (20_000, 12))
    scores = worth + rng.normal(0, 0.03, worth.shape)
    rows, best = np.arange(len(scores)), scores.argmax(axis=1)
    seen = float((scores - worth)[rows, best].mean())
    assert normal_optimism(0.05, 0.03, 12) == pytest.approx(seen, rel=0.03)


def test_loss_interval_holds_the_loss() -> None:
    labels, probs = predictions(range(10))
    found = loss_interval(labels, probs)
    assert found.estimate == pytest.approx(-(90 * math.log(0.9) + 10 * math.log(0.1 / 9)) / 100, rel=1e-5)
    assert found.low < found.estimate < found.high


def answers(right: np.ndarray) -> Answers:
    return Answers(right.astype(np.float32), (1 - right).astype(np.float32))


def test_no_optimism_where_one_is_always_best() -> None:
    right = np.zeros((3, 400))
    right[1] = 1
    found = resampled_optimism(answers(right), by_accuracy=True)
    assert (found.accuracy, found.loss, found.trials) == (0.0, 0.0, 3)
    assert found.wins == (0.0, 1.0, 0.0)


def test_alike_trials_have_no_optimism_though_each_may_win() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    right = np.tile(rng.random(400) < 0.9, (5, 1))  # they err on the same images: their luck is the same
    assert resampled_optimism(answers(right), by_accuracy=False).accuracy == pytest.approx(0.0, abs=1e-6)


def test_resampled_optimism_of_independent_trials() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    count, images = 10, 400
    right = np.stack([rng.permutation(np.arange(images) < 360) for _ in range(count)])  # exactly 90 % each
    found = resampled_optimism(answers(right), by_accuracy=True)
    assert found.accuracy == pytest.approx(binomial_error(0.9, images) * expected_maximum(count), rel=0.12)
    assert found.loss == pytest.approx(found.accuracy, abs=1e-6)  # whose losses are their errors
    assert sum(found.wins) == pytest.approx(1.0)


def test_a_difference_of_nothing() -> None:
    same = Interval(0.5, 0.4, 0.6)
    assert difference(same, same).estimate == 0.0
