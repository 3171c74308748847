from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.layers.dropout import DropoutSpec

Build = Callable[..., Any]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_expected_output_is_the_input(build_layer: Build, rate: float) -> None:
    layer, _ = build_layer(DropoutSpec(rate=rate), (1000,), max_batch=100)
    y = layer.forward(np.ones((100, 1000)), train=True)
    assert np.mean(y == 0) == pytest.approx(rate, abs=0.01)
    assert np.unique(y[y != 0]) == pytest.approx([1 / (1 - rate)])


def test_the_gradient_goes_where_the_input_went(build_layer: Build) -> None:
    layer, _ = build_layer(DropoutSpec(rate=0.4), (30,))
    y = layer.forward(np.ones((5, 30)), train=True).copy()
    np.testing.assert_allclose(layer.backward(np.ones((5, 30))), y)


def test_inference_is_the_identity_and_draws_nothing(build_layer: Build) -> None:
    layer, _ = build_layer(DropoutSpec(rate=0.4), (30,))
    before = layer.rng.bit_generator.state
    x = np.random.default_rng(0).standard_normal((5, 30))
    np.testing.assert_array_equal(layer.forward(x, train=False), x)
    np.testing.assert_equal(layer.rng.bit_generator.state, before)


def test_masks_are_drawn_afresh_and_by_seed(build_layer: Build) -> None:
    masks = []
    for seed in (1, 1, 2):
        layer, _ = build_layer(DropoutSpec(rate=0.4), (300,), seed=seed)
        masks += [layer.forward(np.ones((5, 300)), train=True).tobytes() for _ in range(2)]
    assert masks[:2] == masks[2:4]
    assert len(set(masks)) == 4


def test_a_generator_put_back_repeats_its_masks(build_layer: Build) -> None:
    layer, _ = build_layer(DropoutSpec(rate=0.4), (300,))
    state = layer.rng.bit_generator.state
    first = layer.forward(np.ones((5, 300)), train=True).copy()
    layer.rng.bit_generator.state = state
    np.testing.assert_array_equal(layer.forward(np.ones((5, 300)), train=True), first)
