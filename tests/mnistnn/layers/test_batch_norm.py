from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.layers.batch_norm import BatchNormSpec

Build = Callable[..., Any]


def plain(build_layer: Build, shape: tuple[int, ...], **values: Any) -> Any:
    layer, arena = build_layer(BatchNormSpec(**values), shape, max_batch=50)
    layer.initialise(np.random.default_rng(0))
    return layer, arena


@pytest.mark.parametrize("shape", [(6,), (4, 5, 6)])
def test_channels_come_out_with_mean_zero_and_variance_one(build_layer: Build, shape: tuple[int, ...]) -> None:
    layer, _ = plain(build_layer, shape)
    x = 3 + 5 * np.random.default_rng(0).standard_normal((50, *shape))
    y = layer.forward(x, train=True).reshape(-1, 6)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=0), 1, rtol=1e-5)


def test_inference_uses_running_statistics(build_layer: Build) -> None:
    layer, arena = plain(build_layer, (3,), momentum=1.0)
    x = 3 + 5 * np.random.default_rng(0).standard_normal((50, 3))
    layer.forward(x, train=True)
    named = arena.named()
    np.testing.assert_allclose(named["layer/running_mean"].value, x.mean(axis=0))
    np.testing.assert_allclose(named["layer/running_var"].value, x.var(axis=0, ddof=1))
    y = layer.forward(x[:1], train=False)
    np.testing.assert_allclose(y, (x[:1] - x.mean(axis=0)) / np.sqrt(x.var(axis=0, ddof=1) + 1e-5))


def test_a_batch_counts_by_its_momentum(build_layer: Build) -> None:
    layer, arena = plain(build_layer, (1,), momentum=0.25)
    for mean in (4.0, 8.0):
        layer.forward(np.array([[mean - 1], [mean + 1]]), train=True)
    assert arena.named()["layer/running_mean"].value.tolist() == [0.75 * 1.0 + 0.25 * 8]


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
def test_a_constant_channel_and_a_single_image_are_no_trouble(build_layer: Build, shape: tuple[int, ...]) -> None:
    layer, arena = plain(build_layer, shape)
    for n in (1, 50):
        y = layer.forward(np.full((n, *shape), 7.0), train=True)
        np.testing.assert_allclose(y, 0, atol=1e-9)
        assert np.isfinite(layer.backward(np.ones((n, *shape)))).all()
    assert np.isfinite(arena.states).all()


def test_float32_does_not_lose_a_small_spread_on_a_large_mean(build_layer: Build) -> None:
    layer, _ = build_layer(BatchNormSpec(eps=1e-8), (4,), max_batch=100, dtype=np.float32)
    layer.initialise(np.random.default_rng(0))
    x = (1000 + np.random.default_rng(0).standard_normal((100, 4))).astype(np.float32)
    y = layer.forward(x, train=True)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-3)


def test_its_params_do_not_decay(build_layer: Build) -> None:
    _, arena = plain(build_layer, (3,))
    assert arena.n_decay == 0
