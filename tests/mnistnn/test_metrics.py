from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.errors import DataError
from mnistnn.metrics import accuracy, cross_entropy, moving_average

PROBS = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.0, 1.0, 0.0]], np.float32)


def test_accuracy_counts_the_likeliest_class() -> None:
    assert accuracy(np.array([0, 2, 0, 1]), PROBS) == 0.75
    assert accuracy(np.array([0, 2, 1, 1], np.uint8), PROBS) == 1.0


def test_cross_entropy_is_the_mean_surprise() -> None:
    expected = -(math.log(0.7) + math.log(0.7) + math.log(0.4) + math.log(1)) / 4
    assert cross_entropy(np.array([0, 2, 1, 1]), PROBS) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_cross_entropy_of_an_impossible_label_is_finite(dtype: type) -> None:
    loss = cross_entropy(np.array([0, 2, 1, 0]), PROBS.astype(dtype))
    assert math.isfinite(loss)
    assert loss > 2


@pytest.mark.parametrize("metric", [accuracy, cross_entropy])
@pytest.mark.parametrize(
    ("labels", "probs"),
    [
        (np.zeros(3, int), PROBS),
        (np.zeros((4, 1), int), PROBS),
        (np.zeros(4, int), PROBS[:, 0]),
        (np.zeros(0, int), PROBS[:0]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(metric, labels, probs) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="labels"):
        metric(labels, probs)


def test_moving_average_is_the_reports() -> None:
    assert moving_average([4.0, 2.0, 3.0, 7.0]).tolist() == [4.0, 3.0, 2.5, 5.0]
    assert moving_average([4.0, 2.0, 3.0, 7.0], 1).tolist() == [4.0, 2.0, 3.0, 7.0]
    assert moving_average([4.0, 2.0, 3.0, 7.0], 9).tolist() == [4.0, 3.0, 3.0, 4.0]
    assert moving_average([], 3).tolist() == []


@given(st.lists(st.floats(-1e6, 1e6), max_size=20), st.integers(1, 8))
def test_moving_average_against_its_definition(values: list[float], window: int) -> None:
    curve = moving_average(values, window)
    for i, mean in enumerate(curve):
        last = values[max(0, i - window + 1) : i + 1]
        assert mean == pytest.approx(sum(last) / len(last), abs=1e-6)


def test_a_gap_stays_within_its_window() -> None:
    assert np.isnan(moving_average([1.0, math.nan, 1.0, 1.0, 3.0])).tolist() == [False, True, True, False, False]


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="window"):
        moving_average([1.0], 0)
