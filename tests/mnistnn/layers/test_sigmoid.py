from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.layers.sigmoid import SigmoidSpec


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_overflows_nowhere(build_layer: Callable[..., Any], dtype: type) -> None:
    layer, _ = build_layer(SigmoidSpec(), (6,), dtype=dtype)
    x = np.array([[-np.finfo(dtype).max, -1e3, 0, 1, 1e3, np.finfo(dtype).max]], dtype)
    expected = [0, 0, 0.5, 1 / (1 + np.exp(-1)), 1, 1]
    np.testing.assert_allclose(layer.forward(x, train=True)[0], expected, atol=1e-6)
    assert np.isfinite(layer.backward(np.ones((1, 6), dtype))).all()
