from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.errors import DataError
from mnistnn.metrics import accuracy, calibrated_loss, cross_entropy, moving_average

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


@pytest.mark.parametrize("metric", [accuracy, cross_entropy, calibrated_loss])
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


LABELS = np.arange(200, dtype=np.uint8) % 10


def logits_of(*, sure: float) -> np.ndarray:
    """Returns outputs of a net that is right nine times of ten, so many times as large."""
    rng = np.random.default_rng(0)
    answers = np.where(rng.random(len(LABELS)) < 0.9, LABELS, (LABELS + 1) % 10)
    logits = rng.normal(0.0, 1.0, (len(LABELS), 10))
    logits[np.arange(len(LABELS)), answers] += 4.0
    return (sure * logits).astype(np.float32)


def loss_at(logits: np.ndarray, power: float) -> float:
    scaled = power * logits.astype(np.float64)
    return float((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(LABELS)), LABELS]).mean())


@pytest.mark.parametrize("sure", [0.2, 1.0, 6.0])
def test_a_calibrated_loss_is_the_least_of_all_temperatures(sure: float) -> None:
    logits = logits_of(sure=sure)
    least = min(loss_at(logits, power) for power in np.geomspace(0.05, 20, 2_000))
    assert calibrated_loss(LABELS, logits) == pytest.approx(least, rel=1e-4)
    assert calibrated_loss(LABELS, logits) <= loss_at(logits, 1.0) + 1e-9


def test_it_does_not_depend_on_how_sure_a_net_is() -> None:
    losses = [calibrated_loss(LABELS, logits_of(sure=sure)) for sure in (0.3, 1.0, 2.0)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-3)


def test_it_is_of_the_softmax_outputs_logarithms_what_it_is_of_the_logits() -> None:
    logits = logits_of(sure=1.0)
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    assert calibrated_loss(LABELS, log_probs) == pytest.approx(calibrated_loss(LABELS, logits), rel=1e-5)


@pytest.mark.parametrize(("value", "loss"), [(0.1, np.log(10)), (1 - 1e-30, 0.0)])
def test_outputs_that_say_nothing_or_all_have_a_calibrated_loss_too(value: float, loss: float) -> None:
    probs = np.full((len(LABELS), 10), max((1 - value) / 9, 1e-30))
    probs[np.arange(len(LABELS)), LABELS] = value
    assert calibrated_loss(LABELS, np.log(probs)) == pytest.approx(loss, abs=1e-3)
