from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.losses import SoftmaxCrossEntropy, softmax


@given(st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 999))
def test_the_gradient_is_that_of_central_differences(n: int, smoothing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.standard_normal((n, 5)), rng.integers(0, 5, n)
    loss = SoftmaxCrossEntropy(5, 6, label_smoothing=smoothing, dtype=np.float64)
    loss.forward(logits, labels)
    found = loss.backward().copy()
    for index in np.ndindex(logits.shape):
        above, below = logits.copy(), logits.copy()
        above[index] += 1e-5
        below[index] -= 1e-5
        expected = (loss.forward(above, labels) - loss.forward(below, labels)) / 2e-5
        assert found[index] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_any_size_give_finite_numbers(dtype: type) -> None:
    logits = np.array([[1e4, -1e4, 0], [-3e38, 3e38, 0], [0, 0, 0]], dtype)
    loss = SoftmaxCrossEntropy(3, 3, dtype=dtype)
    with np.errstate(over="ignore"):  # the difference of the largest floats may round to -inf, whose exp is 0
        value = loss.forward(logits[[0, 2]], np.array([1, 0]))
    assert value == pytest.approx((2e4 + math.log(3)) / 2)
    assert np.isfinite(loss.backward()).all()
    assert np.isfinite(softmax(logits[[0, 2]])).all()


def test_the_plain_loss_and_the_hits_ignore_smoothing() -> None:
    logits, labels = np.random.default_rng(0).standard_normal((8, 10)), np.arange(8)
    plain = SoftmaxCrossEntropy(10, 8, dtype=np.float64)
    smoothed = SoftmaxCrossEntropy(10, 8, label_smoothing=0.1, dtype=np.float64)
    value = plain.forward(logits, labels)
    assert smoothed.forward(logits, labels) != value
    assert plain.plain_loss == value == smoothed.plain_loss
    assert plain.correct == smoothed.correct == np.count_nonzero(logits.argmax(1) == labels)


def test_logits_stay_as_they_are() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 10))
    logits.setflags(write=False)
    loss = SoftmaxCrossEntropy(10, 4, dtype=np.float64)
    loss.forward(logits, np.zeros(4, np.uint8))
    loss.backward()
    softmax(logits)


def test_softmax_writes_where_it_is_told() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 10)).astype(np.float32)
    out = np.empty_like(logits)
    assert softmax(logits, out=out) is out
    assert out.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_a_warm_step_takes_next_to_no_memory(warm_peak: Callable[[Callable[[], object]], int]) -> None:
    logits, labels = np.zeros((1000, 10), np.float32), np.zeros(1000, np.int64)
    loss = SoftmaxCrossEntropy(10, 1000, label_smoothing=0.1)

    def step() -> None:
        loss.forward(logits, labels)
        loss.backward()

    assert warm_peak(step) < 40 * 1024
