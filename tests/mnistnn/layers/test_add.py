"""Add and the fork that it needs; the add alone is tried by the contract tests."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnistnn.arena import Arena
from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer
from mnistnn.layers.add import AddSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.fork import ForkSpec

WAYS = [  # kernels, padding, the last one's stride
    ((3,), "same", 1),
    ((3, 5), "same", 1),
    ((3,), "same", 2),
    ((3,), "valid", 1),
    ((5, 3), "valid", 1),
    ((3,), "valid", 2),
    ((3, 5), "valid", 2),
    ((5,), "valid", 2),
]


def built(
    kernels: tuple[int, ...], padding: str, stride: int, shape: tuple[int, int, int] = (12, 13, 3)
) -> tuple[list[Layer], Arena]:
    """Builds a fork, convolutions without bias, and an add: all of it linear in its input."""
    arena = Arena(np.float64)
    context = BuildContext(arena, 5)
    strides = [1] * (len(kernels) - 1) + [stride]
    convs = [
        Conv2DSpec(filters=shape[2], kernel=k, padding=padding, bias=False, stride=s)
        for k, s in zip(kernels, strides, strict=True)
    ]
    layers: list[Layer] = []
    for number, spec in enumerate((ForkSpec(), *convs, AddSpec(stride=stride))):
        context.name = f"layer_{number}"
        layers.append(spec.build(layers[-1].out_shape if layers else shape, context))
    assert context.shortcuts == []
    arena.allocate()
    return layers, arena


def forward(layers: list[Layer], x: NDArray[Any]) -> NDArray[Any]:
    return reduce(lambda y, layer: layer.forward(y, train=True), layers, x)


@pytest.mark.parametrize(("kernels", "padding", "stride"), WAYS)
def test_what_is_added_lies_where_the_windows_are_centred(kernels: Any, padding: str, stride: int) -> None:
    layers, arena = built(kernels, padding, stride)
    for layer in layers[1:-1]:  # each gives back the middle of its windows
        (weight,) = layer.params
        middle = weight.shape[0] // 2
        weight.value[middle, middle] = np.eye(3)
    x = np.random.default_rng(0).standard_normal((4, 12, 13, 3))
    y = forward(layers, x)
    np.testing.assert_array_equal(y, 2 * forward(layers[1:-1], x))
    assert y.any()


@pytest.mark.parametrize(("kernels", "padding", "stride"), WAYS)
def test_backward_is_the_transpose_of_forward(kernels: Any, padding: str, stride: int) -> None:
    layers, arena = built(kernels, padding, stride)
    draw = np.random.default_rng(1)
    arena.params[...] = draw.standard_normal(arena.params.size)
    for rows in (5, 2, 5):
        x, other = draw.standard_normal((2, rows, 12, 13, 3))
        y_other = forward(layers, other).copy()
        dy = draw.standard_normal(forward(layers, x).shape)
        dx = reduce(lambda gradient, layer: layer.backward(gradient), reversed(layers), dy.copy())
        assert np.vdot(dx, other) == pytest.approx(np.vdot(dy, y_other))


def test_ways_may_lie_within_one_another() -> None:
    arena = Arena(np.float64)
    context = BuildContext(arena, 2)
    layers = [spec.build((4, 4, 2), context) for spec in (ForkSpec(), ForkSpec(), AddSpec(), AddSpec())]
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 2))
    np.testing.assert_allclose(forward(layers, x), 3 * x)
    dx = reduce(lambda gradient, layer: layer.backward(gradient), reversed(layers), x.copy())
    np.testing.assert_allclose(dx, 3 * x)


def test_one_without_a_fork_of_its_own_is_refused() -> None:
    context = BuildContext(Arena(), 2)
    with pytest.raises(SpecError, match="a fork of its own"):
        AddSpec().build((4, 4, 2), context)
    ForkSpec().build((4, 4, 2), context)
    AddSpec().build((4, 4, 2), context)
    with pytest.raises(SpecError, match="a fork of its own"):
        AddSpec().build((4, 4, 2), context)


@pytest.mark.parametrize(
    ("shape", "stride", "rule"),
    [
        ((4, 4, 3), 1, "as many channels"),
        ((32,), 1, "as many channels"),
        ((5, 4, 2), 1, "reach as far"),
        ((4, 4, 2), 2, "reach as far"),
    ],
)
def test_maps_that_cannot_be_added_are_refused(shape: tuple[int, ...], stride: int, rule: str) -> None:
    context = BuildContext(Arena(), 2)
    ForkSpec().build((4, 4, 2), context)
    with pytest.raises(SpecError, match=rule):
        AddSpec(stride=stride).build(shape, context)
