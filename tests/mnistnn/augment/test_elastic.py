from __future__ import annotations

import numpy as np
import pytest

from mnistnn.augment.elastic import Elastic


def fields(spec: Elastic, n: int) -> np.ndarray:
    basis = spec.basis(28)
    count = basis.shape[1]
    coefs = np.empty((2, count, n, count), np.float32)
    spec.draw(coefs, np.random.default_rng(0))
    return np.einsum("hi,ainj,wj->anhw", basis, coefs, basis, optimize=True)


@pytest.mark.parametrize(("amount", "sigma"), [(1.0, 4.0), (2.0, 3.0), (0.5, 8.0), (1.4, 3.3)])
def test_the_amount_is_the_deviation_of_each_pixel(amount: float, sigma: float) -> None:
    found = fields(Elastic(amount=amount, sigma=sigma), 3000)
    assert abs(found.mean()) < 0.03 * amount
    # 6,000 draws of each: a deviation is known to one part in a hundred.
    deviations = np.sqrt((found**2).mean(axis=(0, 1)))
    assert np.abs(deviations / amount - 1).max() < 0.06
    assert deviations.mean() == pytest.approx(amount, rel=0.02)


@pytest.mark.parametrize("sigma", [3.0, 4.0, 8.0])
def test_pixels_move_together_over_sigma(sigma: float) -> None:
    found = fields(Elastic(sigma=sigma), 3000)
    start = found[:, :, 10, 6]
    for distance in (1, 4, 10):
        wanted = np.exp(-((distance / sigma) ** 2) / 4)  # of white noise under a Gaussian
        together = (start * found[:, :, 10, 6 + distance]).mean() / (start**2).mean()
        assert together == pytest.approx(wanted, abs=0.06)
    assert abs((found[0] * found[1]).mean()) < 0.03  # an axis knows nothing of the other
