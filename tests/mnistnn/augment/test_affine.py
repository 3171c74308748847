from __future__ import annotations

import numpy as np

from mnistnn.augment.rotation import Rotation
from mnistnn.augment.scaling import Scaling
from mnistnn.augment.shear import Shear

N = 4000


def is_even(values: np.ndarray, low: float, high: float) -> bool:
    """Whether values lie between two others, and as many in each tenth (but once in a thousand)."""
    counts = np.histogram(values, 10, (low, high))[0]
    wanted = len(values) / 10
    return bool(low <= values.min() and values.max() <= high and ((counts - wanted) ** 2 / wanted).sum() < 27.9)


def test_angles_are_even_over_both_sides() -> None:
    matrices, offsets = Rotation(degrees=30.0).draw(N, np.random.default_rng(0))
    assert not offsets.any()
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), np.tile(np.eye(2), (N, 1, 1)), atol=1e-12)
    assert is_even(np.rad2deg(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0])), -30, 30)


def test_factors_are_even_and_each_axis_has_its_own() -> None:
    matrices, offsets = Scaling(amount=0.3).draw(N, np.random.default_rng(0))
    assert not offsets.any()
    assert not matrices[:, 0, 1].any()
    assert not matrices[:, 1, 0].any()
    down, across = 1 / matrices[:, 0, 0], 1 / matrices[:, 1, 1]
    assert is_even(down, 0.7, 1.3)
    assert is_even(across, 0.7, 1.3)
    assert abs(np.corrcoef(down, across)[0, 1]) < 0.06


def test_slants_are_even_over_both_sides() -> None:
    matrices, offsets = Shear(amount=0.4).draw(N, np.random.default_rng(0))
    assert not offsets.any()
    assert is_even(matrices[:, 1, 0], -0.4, 0.4)
    matrices[:, 1, 0] = 0
    np.testing.assert_array_equal(matrices, np.tile(np.eye(2), (N, 1, 1)))
