from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.errors import SpecError
from mnistnn.layers.conv2d import Conv2DSpec

Build = Callable[..., Any]


def slowly(x: Any, weight: Any, bias: Any, pad: int, stride: int) -> Any:
    """The definition, one output at a time, of which a stride leaves some out."""
    k, _, _, filters = weight.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    rows, columns = padded.shape[1] - k + 1, padded.shape[2] - k + 1
    y = np.empty((len(x), rows, columns, filters))
    for b, i, j, f in np.ndindex(y.shape):
        y[b, i, j, f] = (padded[b, i : i + k, j : j + k] * weight[..., f]).sum() + bias[f]
    return y[:, ::stride, ::stride]


@given(
    st.integers(5, 8),
    st.integers(5, 8),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 3, 5]),
    st.sampled_from(["same", "valid"]),
    st.integers(1, 3),
)
def test_it_is_the_definition(
    build_layer: Build, height: int, width: int, channels: int, filters: int, kernel: int, padding: str, stride: int
) -> None:
    spec = Conv2DSpec(filters=filters, kernel=kernel, padding=padding, stride=stride)
    layer, arena = build_layer(spec, (height, width, channels), max_batch=2)
    named = arena.named()
    x = np.random.default_rng(0).standard_normal((2, height, width, channels))
    pad = kernel // 2 if padding == "same" else 0
    expected = slowly(x, named["layer/weight"].value, named["layer/bias"].value, pad, stride)
    np.testing.assert_allclose(layer.forward(x, train=False), expected, atol=1e-12)
    assert layer.out_shape == expected.shape[1:]
    assert layer.macs == np.prod(layer.out_shape) * kernel * kernel * channels


@pytest.mark.parametrize("stride", [1, 2])
def test_a_batch_of_many_chunks_equals_its_images(build_layer: Build, stride: int) -> None:
    """Patches are made for a few images at a time; where the chunks meet nothing may show."""
    layer, arena = build_layer(Conv2DSpec(filters=4, kernel=5, stride=stride), (28, 28, 8), max_batch=13)
    x = np.random.default_rng(0).standard_normal((13, 28, 28, 8))
    dy = np.random.default_rng(1).standard_normal((13, *layer.out_shape))
    y = layer.forward(x, train=True).copy()
    dx, grads = layer.backward(dy.copy()).copy(), arena.grads.copy()
    summed = np.zeros_like(grads)
    for i in range(13):
        np.testing.assert_allclose(layer.forward(x[i : i + 1], train=True)[0], y[i], atol=1e-12)
        np.testing.assert_allclose(layer.backward(dy[i : i + 1].copy())[0], dx[i], atol=1e-12)
        summed += arena.grads
    np.testing.assert_allclose(summed, grads, rtol=1e-9, atol=1e-9)


def test_convolutions_stack(build_layer: Build) -> None:
    first, _ = build_layer(Conv2DSpec(filters=6), (8, 8, 1))
    second, _ = build_layer(Conv2DSpec(filters=3, kernel=5, padding="valid"), first.out_shape)
    assert second.forward(first.forward(np.ones((2, 8, 8, 1)), train=False), train=False).shape == (2, 4, 4, 3)


def test_weights_decay_and_biases_do_not(build_layer: Build) -> None:
    _, arena = build_layer(Conv2DSpec(filters=3), (4, 4, 2))
    assert (arena.n_decay, arena.params.size) == (3 * 3 * 2 * 3, 3 * 3 * 2 * 3 + 3)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (Conv2DSpec(), (16,), "must be a map"),
        (Conv2DSpec(kernel=5, padding="valid"), (4, 9, 1), "padding='same'"),
    ],
)
def test_what_does_not_fit_is_refused(
    build_layer: Build, spec: Conv2DSpec, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        build_layer(spec, shape)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(SpecError, match="kernel"):
        Conv2DSpec(kernel=4)


def test_a_warm_strided_step_takes_next_to_no_memory(
    build_layer: Build, warm_peak: Callable[[Callable[[], object]], int]
) -> None:
    layer, _ = build_layer(Conv2DSpec(stride=2), (14, 14, 32), max_batch=64, dtype=np.float32)
    x, dy = np.ones((64, 14, 14, 32), np.float32), np.ones((64, 7, 7, 32), np.float32)

    def step() -> None:
        layer.forward(x, train=True)
        layer.backward(dy)

    assert warm_peak(step) < 72 * 1024  # NumPy's own 64 KiB; the layer's arrays would be hundreds


def test_a_stride_of_one_is_written_as_before_there_were_others() -> None:
    assert "stride" not in Conv2DSpec().written()
    assert Conv2DSpec(stride=2).written()["stride"] == 2
