from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.errors import SpecError
from mnistnn.layers.input import InputSpec

Build = Callable[..., Any]


@pytest.mark.parametrize("shape", [(28, 28, 1), (784,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_pixels_become_numbers_in_the_nets_own_type(build_layer: Build, shape: tuple[int, ...], dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(dtype)
    for net_dtype in (np.float32, np.float64):
        layer, _ = build_layer(InputSpec(shape=shape), (28, 28), dtype=net_dtype)
        y = layer.forward(images, train=False)
        assert y.dtype == net_dtype
        np.testing.assert_allclose(y, images.reshape(5, *shape) / 255.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (InputSpec(scaling="unit"), [0.0, 1.0]),
        (InputSpec(scaling="standard", mean=51.0, std=102.0), [-0.5, 2.0]),
        (InputSpec(scaling="none"), [0.0, 255.0]),
    ],
)
def test_scalings(build_layer: Build, spec: InputSpec, expected: list[float]) -> None:
    layer, _ = build_layer(spec, (28, 28))
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 255
    y = layer.forward(images, train=True)
    np.testing.assert_allclose([y[0].max(), y[1].min()], expected, rtol=1e-12)


def test_a_view_of_images_is_taken_too(build_layer: Build) -> None:
    layer, _ = build_layer(InputSpec(shape=(784,)), (28, 28))
    canvas = np.random.default_rng(0).integers(0, 256, (5, 30, 30), np.uint8)
    y = layer.forward(canvas[:, 1:29, 1:29], train=False)
    np.testing.assert_allclose(y, canvas[:, 1:29, 1:29].reshape(5, -1) / 255)


@pytest.mark.parametrize("shape", [(27, 28, 1), (-28, -28, 1), (28.0, 28, 1), (28, "28"), "784", 784, None, ()])
def test_a_shape_that_holds_no_image_is_refused(build_layer: Build, shape: Any) -> None:
    with pytest.raises(SpecError, match="shape"):
        build_layer(InputSpec(shape=shape), (28, 28))
