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


def test_a_rate_between_two_bytes_is_met_in_the_mean(build_layer: Build) -> None:
    rate = 100.5 / 256
    layer, _ = build_layer(DropoutSpec(rate=rate), (64,))
    x = np.ones((5, 64))
    left_out = [np.mean(layer.forward(x, train=True) == 0) for _ in range(4000)]
    assert np.mean(left_out) == pytest.approx(rate, abs=0.0012)  # either byte alone would be off by 0.002


def test_every_number_is_drawn_whatever_the_size(build_layer: Build) -> None:
    """Also where a batch is no whole number of blocks, and a block no whole number of draws."""
    layer, _ = build_layer(DropoutSpec(rate=0.5), (7, 1001), max_batch=10, dtype=np.float32)
    x = np.ones((10, 7, 1001), np.float32)
    ys = np.array([layer.forward(x, train=True).copy() for _ in range(40)])
    assert set(np.unique(ys)) == {0.0, 2.0}
    assert np.all((ys == 0).any(axis=0))
    assert np.all((ys == 2).any(axis=0))


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
