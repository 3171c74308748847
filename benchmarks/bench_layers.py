"""Each registered layer, optimizer and augmentation alone, batch 100: a new one is measured here unasked.

python -m pytest benchmarks/bench_layers.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.nets import named_case
from mnistnn.arena import Arena
from mnistnn.augment import build_augmenters
from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer
from mnistnn.network import IMAGE_SHAPE, Network
from mnistnn.registry import augmentation, optimizer
from mnistnn.registry import layer as layers

BATCH, ROUNDS = 100, 15
# A map as it is in the middle of a net, a row as it is before the last layer, and an image.
SHAPES = ((14, 14, 32), (1568,), IMAGE_SHAPE)


def built(name: str) -> Layer:
    """Returns a layer with its default values on the first of `SHAPES` that it takes."""
    for shape in SHAPES:
        arena = Arena()
        try:
            layer = layers.get(name)().build(shape, BuildContext(arena, BATCH))  # type: ignore[attr-defined]
        except SpecError:
            continue
        arena.allocate()
        layer.initialise(np.random.default_rng(0))
        return layer
    pytest.skip(f"{name} takes none of {SHAPES}")


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((BATCH, *shape)).astype(np.float32)


@pytest.mark.benchmark(group="layer, forward")
@pytest.mark.parametrize("name", layers.names())
def test_layer_forward(benchmark: BenchmarkFixture, name: str) -> None:
    layer = built(name)
    y = benchmark(layer.forward, drawn(layer.in_shape), train=True)
    assert y.shape == (BATCH, *layer.out_shape)


@pytest.mark.benchmark(group="layer, backward")
@pytest.mark.parametrize("name", layers.names())
def test_layer_backward(benchmark: BenchmarkFixture, name: str) -> None:
    layer = built(name)
    x, dy = drawn(layer.in_shape), drawn(layer.out_shape)
    spent = np.empty_like(dy)

    def forward() -> tuple[tuple[np.ndarray], dict[str, object]]:
        layer.forward(x, train=True)  # each before its own backward pass, which may spend what it kept
        np.copyto(spent, dy)
        return (spent,), {}

    dx = benchmark.pedantic(layer.backward, setup=forward, rounds=ROUNDS, warmup_rounds=2)
    assert dx.shape == (BATCH, *layer.in_shape)


@pytest.mark.benchmark(group="optimizer, on conv2's params")
@pytest.mark.parametrize("name", optimizer.names())
def test_optimizer(benchmark: BenchmarkFixture, name: str) -> None:
    spec: Any = optimizer.get(name)()
    arena = Network(named_case("conv2").network, batch_size=1).arena
    state = spec.init(arena)
    draw = np.random.default_rng(2)
    grads = draw.standard_normal(arena.grads.size).astype(np.float32)

    def update() -> None:
        np.copyto(arena.grads, grads)  # an update spends them; the copy is part of the time
        spec.update(state, arena, learning_rate=1e-3, step=10)

    benchmark(update)
    assert np.isfinite(arena.params).all()


@pytest.mark.benchmark(group="augmentation")
@pytest.mark.parametrize("name", augmentation.names())
def test_augmentation(benchmark: BenchmarkFixture, name: str) -> None:
    spec: Any = augmentation.get(name)()
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (BATCH, *IMAGE_SHAPE), dtype=np.uint8)
    assert benchmark(spec.build(IMAGE_SHAPE, BATCH), images, rng).shape == images.shape


@pytest.mark.benchmark(group="augmentation")
def test_all_augmentations(benchmark: BenchmarkFixture) -> None:
    specs: Any = [augmentation.get(name)() for name in augmentation.names()]
    row, rng = build_augmenters(specs, IMAGE_SHAPE, BATCH), np.random.default_rng(3)
    images = rng.integers(0, 256, (BATCH, *IMAGE_SHAPE), dtype=np.uint8)

    def augment() -> Any:
        out = images
        for augmenter in row:
            out = augmenter(out, rng)
        return out

    assert benchmark(augment).shape == images.shape
