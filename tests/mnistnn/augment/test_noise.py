from __future__ import annotations

import numpy as np

from mnistnn.augment.noise import Noise


def test_each_image_has_its_own_deviation_up_to_sigma() -> None:
    grey = np.full((2000, 28, 28), 128, np.uint8)
    out = Noise(sigma=20.0).build((28, 28), 2000)(grey, np.random.default_rng(0)).astype(float)
    deviations = out.std(axis=(1, 2))
    counts = np.histogram(deviations, 10, (0, 20))[0]
    assert counts.sum() >= 1950  # a deviation of 784 pixels is known to a fortieth
    assert ((counts[1:-1] - 200) ** 2 / 200).sum() < 30
    assert abs(out.mean() - 128) < 0.1


def test_it_is_gaussian_and_pixels_know_nothing_of_each_other() -> None:
    grey = np.full((400, 28, 28), 128, np.uint8)
    out = Noise(sigma=20.0).build((28, 28), 400)(grey, np.random.default_rng(0)) - 128.0
    scaled = out / out.std(axis=(1, 2), keepdims=True).clip(1)
    scaled = scaled[out.std(axis=(1, 2)) > 5]
    assert abs((np.abs(scaled) < 1).mean() - 0.6827) < 0.02
    assert abs((np.abs(scaled) < 2).mean() - 0.9545) < 0.01
    assert abs((scaled[:, :, 1:] * scaled[:, :, :-1]).mean()) < 0.01


def test_it_is_cut_off_at_black_and_white() -> None:
    ends = np.zeros((50, 28, 28), np.uint8)
    ends[:, 14:] = 255
    out = Noise(sigma=128.0).build((28, 28), 50)(ends, np.random.default_rng(0))
    for half, end in ((out[:, :14], 0), (out[:, 14:], 255)):
        assert 0.4 < (half == end).mean() < 0.6  # what went the other way
        assert np.abs(half.astype(int) - end).max() > 100
