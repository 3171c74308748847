from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.errors import SpecError
from mnistnn.layers.dense import DenseSpec


def test_it_is_a_matrix_product(build_layer: Callable[..., Any]) -> None:
    layer, arena = build_layer(DenseSpec(units=3), (4,))
    named = arena.named()
    x = np.random.default_rng(0).standard_normal((5, 4))
    expected = x @ named["layer/weight"].value + named["layer/bias"].value
    np.testing.assert_allclose(layer.forward(x, train=True), expected)
    assert layer.macs == 12


def test_weights_decay_and_biases_do_not(build_layer: Callable[..., Any]) -> None:
    _, arena = build_layer(DenseSpec(units=3), (4,))
    assert (arena.n_decay, arena.params.size) == (12, 15)
    _, arena = build_layer(DenseSpec(units=3, bias=False), (4,))
    assert (arena.n_decay, arena.params.size) == (12, 12)


def test_a_map_is_refused(build_layer: Callable[..., Any]) -> None:
    with pytest.raises(SpecError, match="flatten"):
        build_layer(DenseSpec(), (4, 4, 1))


@pytest.mark.parametrize(("units", "n"), [(10, 100), (16, 7), (17, 100)])
def test_a_gradient_made_in_parts_is_whole(build_layer: Callable[..., Any], units: int, n: int) -> None:
    layer, arena = build_layer(DenseSpec(units=units), (3001,), max_batch=n)
    draw = np.random.default_rng(0)
    x, dy = draw.standard_normal((n, 3001)), draw.standard_normal((n, units))
    arena.grads[...] = np.nan
    layer.forward(x, train=True)
    dx = layer.backward(dy)
    np.testing.assert_allclose(arena.named()["layer/weight"].grad, x.T @ dy, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(arena.named()["layer/bias"].grad, dy.sum(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(dx, dy @ arena.named()["layer/weight"].value.T, rtol=1e-9, atol=1e-9)
