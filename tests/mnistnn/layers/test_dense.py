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
