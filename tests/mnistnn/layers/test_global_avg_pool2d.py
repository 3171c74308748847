from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.errors import SpecError
from mnistnn.layers.global_avg_pool2d import GlobalAvgPool2DSpec

Build = Callable[..., Any]


def test_it_is_the_mean_of_each_map_and_shares_the_gradient_out(build_layer: Build) -> None:
    layer, _ = build_layer(GlobalAvgPool2DSpec(), (5, 7, 3))
    x = np.random.default_rng(0).standard_normal((4, 5, 7, 3))
    np.testing.assert_allclose(layer.forward(x, train=True), x.mean(axis=(1, 2)), atol=1e-15)
    dy = np.random.default_rng(1).standard_normal((4, 3))
    expected = np.broadcast_to(dy[:, None, None] / 35, x.shape)
    np.testing.assert_allclose(layer.backward(dy.copy()), expected, atol=1e-15)


def test_what_is_no_map_is_refused(build_layer: Build) -> None:
    with pytest.raises(SpecError, match="in the place of flatten"):
        build_layer(GlobalAvgPool2DSpec(), (12,))
