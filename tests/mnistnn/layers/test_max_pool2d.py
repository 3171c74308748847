from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.errors import SpecError
from mnistnn.layers.max_pool2d import MaxPool2DSpec

Build = Callable[..., Any]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("height", [4, 7, 8, 9])
def test_it_is_the_maximum_of_each_square(build_layer: Build, size: int, height: int) -> None:
    layer, _ = build_layer(MaxPool2DSpec(size=size), (height, 8, 3))
    x = np.random.default_rng(0).standard_normal((2, height, 8, 3))
    y = layer.forward(x, train=False)
    for b, i, j, c in np.ndindex(y.shape):
        assert y[b, i, j, c] == x[b, i * size : (i + 1) * size, j * size : (j + 1) * size, c].max()
    assert y.shape[1:] == layer.out_shape == (height // size, 8 // size, 3)


def test_the_first_of_equals_gets_the_gradient_and_the_rest_none(build_layer: Build) -> None:
    layer, _ = build_layer(MaxPool2DSpec(), (5, 5, 1))
    layer.forward(np.zeros((1, 5, 5, 1)), train=True)
    dx = layer.backward(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1))
    expected = np.zeros((5, 5))
    expected[0, 0], expected[0, 2], expected[2, 0], expected[2, 2] = 1, 2, 3, 4
    np.testing.assert_array_equal(dx[0, :, :, 0], expected)


@pytest.mark.parametrize("shape", [(16,), (1, 4, 3)])
def test_what_holds_no_square_is_refused(build_layer: Build, shape: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="pool less often"):
        build_layer(MaxPool2DSpec(), shape)
