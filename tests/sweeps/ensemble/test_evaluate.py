from __future__ import annotations

import math

import numpy as np
import pytest

from sweeps.ensemble.evaluate import accuracy_gain, confusion_matrix, label_losses, loss_gain, score


def _one_hot(predicted: np.ndarray, sure: float = 0.91) -> np.ndarray:
    probs = np.full((len(predicted), 10), (1 - sure) / 9, np.float32)
    probs[np.arange(len(predicted)), predicted] = sure
    return probs


def test_score_is_accuracy_and_cross_entropy() -> None:
    labels = np.array([0, 1, 2, 3], np.uint8)
    found = score(labels, _one_hot(np.array([0, 1, 2, 9])))
    assert found.accuracy == 0.75
    assert found.loss == pytest.approx(-(3 * math.log(0.91) + math.log(0.01)) / 4, rel=1e-5)


def test_the_accuracy_interval_is_bonett_and_prices() -> None:
    # Worked by hand: 12 images that only ours gets right, 4 that only theirs does, of 100.
    labels = np.zeros(100, np.uint8)
    ours, theirs = np.zeros(100, int), np.zeros(100, int)
    theirs[:12], ours[12:16] = 1, 1
    gain = accuracy_gain(labels, _one_hot(ours), _one_hot(theirs))
    p, q = 13 / 102, 5 / 102
    half = 1.959964 * math.sqrt((p + q - (p - q) ** 2) / 102)
    assert gain.estimate == pytest.approx(0.08)
    assert (gain.low, gain.high) == (pytest.approx(p - q - half, abs=1e-6), pytest.approx(p - q + half, abs=1e-6))


def test_nets_that_agree_everywhere_are_not_said_to_be_surely_equal() -> None:
    probs = _one_hot(np.zeros(500, int))
    gain = accuracy_gain(np.zeros(500, np.uint8), probs, probs)
    assert gain.low < gain.estimate == 0 < gain.high


def test_the_intervals_hold_what_they_promise() -> None:
    """95 % of intervals hold the truth: here it is known, for the images are drawn."""
    rng = np.random.default_rng(7)
    n, rounds, both = 400, 120, [0, 0]
    labels = np.zeros(n, np.uint8)
    for _ in range(rounds):
        hard = rng.random(n)
        ours = np.where(hard + rng.normal(0, 0.02, n) < 0.95, 0, 1)
        theirs = np.where(hard + rng.normal(0, 0.02, n) < 0.92, 0, 1)
        gain = accuracy_gain(labels, _one_hot(ours), _one_hot(theirs))
        both[0] += gain.low <= 0.03 <= gain.high
        lost = loss_gain(labels, _one_hot(ours), _one_hot(theirs), seed=1)
        truth = 0.03 * (math.log(0.91) - math.log(0.01))
        both[1] += lost.low <= truth <= lost.high
    assert both[0] / rounds > 0.9
    assert both[1] / rounds > 0.88  # a percentile bootstrap of skewed differences falls a little short


def test_the_bootstrap_pairs_images_and_is_seeded() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200).astype(np.uint8)
    theirs = rng.dirichlet(np.ones(10), 200).astype(np.float32)
    ours = theirs.copy()
    ours[np.arange(200), labels] *= 1.1  # each image's own loss falls by log 1.1
    gain = loss_gain(labels, ours, theirs)
    assert gain.estimate == pytest.approx(math.log(1.1), rel=1e-4)
    assert gain.high - gain.low < 1e-4  # unpaired, the spread of the losses would be seen
    assert gain == loss_gain(labels, ours, theirs)
    # Other seeds draw other images: seen where the differences vary.
    other = rng.dirichlet(np.ones(10), 200).astype(np.float32)
    assert loss_gain(labels, other, theirs, seed=1) != loss_gain(labels, other, theirs, seed=2)


def test_a_probability_of_zero_gives_a_finite_loss() -> None:
    assert np.isfinite(label_losses(np.zeros(3, np.float32))).all()


def test_the_confusion_matrix_counts_every_image_once() -> None:
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(0, 10, 300).astype(np.uint8), rng.integers(0, 10, 300)
    counts = confusion_matrix(labels, _one_hot(predicted))
    expected = np.zeros((10, 10), int)
    for label, digit in zip(labels, predicted, strict=True):
        expected[label, digit] += 1
    assert (counts == expected).all()
