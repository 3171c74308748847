from __future__ import annotations

import numpy as np
import pytest

from mnistnn.initialise import draw_weights


@pytest.mark.parametrize(("init", "variance"), [("he", 2.0), ("lecun", 1.0)])
@pytest.mark.parametrize("shape", [(400, 100), (5, 5, 16, 100)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_spread_is_that_of_the_paper(init: str, variance: float, shape: tuple[int, ...], scale: float) -> None:
    weight = np.empty(shape)
    draw_weights(weight, init, scale, np.random.default_rng(0))
    fan_in = np.prod(shape[:-1])
    assert weight.std() == pytest.approx(scale * np.sqrt(variance / fan_in), rel=0.02)
    assert abs(weight.mean()) < 0.02 * weight.std()


def test_nets_of_both_precisions_begin_alike() -> None:
    weights = [np.empty((30, 20), dtype) for dtype in (np.float32, np.float64)]
    for weight in weights:
        draw_weights(weight, "he", 1.0, np.random.default_rng(3))
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)
