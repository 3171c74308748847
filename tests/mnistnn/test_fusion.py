"""The fast plan against the plain layers: the same outputs, gradients and statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from mnistnn.arena import Arena
from mnistnn.errors import SpecError
from mnistnn.fusion import FusedConv, FusedConvNorm, FusedInputConvNorm
from mnistnn.fusion.chunk_conv import ChunkConv
from mnistnn.fusion.windows import WindowConv
from mnistnn.layer import BuildContext, LayerSpec
from mnistnn.layers.add import AddSpec
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.fork import ForkSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network, NetworkSpec

BLOCK = st.fixed_dictionaries(
    {
        "filters": st.sampled_from([1, 5, 8, 16]),
        "kernel": st.sampled_from([1, 3, 5]),
        "padding": st.sampled_from(["same", "valid"]),
        "bias": st.booleans(),
        "norm": st.booleans(),
        "pool": st.booleans(),
        "stride": st.sampled_from([1, 1, 2]),
        "residual": st.booleans(),
    }
)


NORMED = {"filters": 8, "kernel": 3, "padding": "same", "bias": False, "norm": True, "pool": True}


def layers_of(blocks: list[dict[str, object]]) -> NetworkSpec:
    layers: list[LayerSpec] = [InputSpec()]
    for block in blocks:
        sizes = {name: block[name] for name in ("filters", "kernel", "padding", "bias")}
        stride, norm = block.get("stride", 1), [BatchNormSpec()] if block["norm"] else []
        residual = block.get("residual", False)
        layers += [Conv2DSpec(**sizes), *norm, ReLUSpec(), ForkSpec()] if residual else []
        layers += [Conv2DSpec(**sizes, stride=stride), *norm]
        layers += [AddSpec(stride=stride), ReLUSpec()] if residual else [ReLUSpec()]
        layers += [MaxPool2DSpec()] if block["pool"] else []
    return NetworkSpec((*layers, FlattenSpec(), DenseSpec(units=10)))


def step(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes one training step's passes and returns logits and grads."""
    draw = np.random.default_rng(5)
    for name, param in network.arena.named().items():
        if name.endswith(("gamma", "beta", "bias")):  # scales of either sign, and shifts
            param.value[...] = draw.standard_normal(param.shape)
    loss = SoftmaxCrossEntropy(10, len(images), dtype=network.arena.dtype)
    logits = network.forward(images, train=True).copy()
    loss.forward(logits, labels)
    network.backward(loss.backward())
    return logits, network.arena.grads.copy()


@settings(max_examples=40, deadline=None)
@given(st.lists(BLOCK, min_size=1, max_size=3), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_equals_the_plain_layers(blocks: list[dict[str, object]], rows: int, seed: int) -> None:
    spec = layers_of(blocks)
    draw = np.random.default_rng(seed)
    # A blank border, as digits have: there, numbers to be pooled tie.
    images = np.zeros((rows, 28, 28))
    images[:, 6:22, 4:24] = draw.integers(0, 256, (rows, 16, 20))
    labels = draw.integers(0, 10, rows)
    try:
        plain = Network(spec, batch_size=9, seed=1, dtype=np.float64, fused=False)
    except SpecError:  # pooled once too often
        reject()
    fused = Network(spec, batch_size=9, seed=1, dtype=np.float64)
    (logits, grads), (fused_logits, fused_grads) = step(plain, images, labels), step(fused, images, labels)
    np.testing.assert_allclose(fused_logits, logits, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fused_grads, grads, rtol=1e-7, atol=1e-9 * max(1.0, np.abs(grads).max()))
    np.testing.assert_allclose(fused.arena.states, plain.arena.states, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fused.forward(images), plain.forward(images), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("images_a_chunk", [1, 2, 3, 4])
@pytest.mark.parametrize("norm", [False, True])
def test_the_size_of_chunks_changes_nothing(images_a_chunk: int, norm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven images in chunks of one to four, the last one shorter; then two, then seven again."""
    blocks = [
        {"filters": 8, "kernel": 5, "padding": "same", "bias": True, "norm": norm, "pool": True},
        {"filters": 9, "kernel": 3, "padding": "same", "bias": True, "norm": norm, "pool": False, "residual": True},
        {"filters": 8, "kernel": 5, "padding": "valid", "bias": True, "norm": norm, "pool": False},
        {"filters": 8, "kernel": 3, "padding": "same", "bias": True, "norm": norm, "pool": True},
    ]
    whole = Network(layers_of(blocks), batch_size=7, seed=1, dtype=np.float64)
    monkeypatch.setattr(ChunkConv, "_even_parts", lambda self, n: images_a_chunk)
    parted = Network(layers_of(blocks), batch_size=7, seed=1, dtype=np.float64)
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (7, 28, 28)), draw.integers(0, 10, 7)
    for count in (7, 2, 7):
        expected, got = (step(network, images[:count], labels[:count]) for network in (whole, parted))
        for exact, same in zip(expected, got, strict=True):
            np.testing.assert_allclose(same, exact, rtol=1e-9, atol=1e-12 * max(1.0, np.abs(exact).max()))
        np.testing.assert_allclose(parted.forward(images[:count]), whole.forward(images[:count]), rtol=1e-9, atol=1e-12)


def test_the_largest_batch_leaves_no_short_chunk() -> None:
    context = BuildContext(Arena(), 100)
    conv = Conv2DSpec(filters=8).build((7, 7, 8), context)
    for most, chunk in ((1, 1), (17, 10), (20, 20), (24, 20), (99, 50), (1000, 100)):
        assert WindowConv(conv, context, (7, 7), squares=False)._even_parts(most) == chunk
    context.max_batch = 97
    assert WindowConv(conv, context, (7, 7), squares=False)._even_parts(20) == 20  # 20, 20, 20, 20, 17


@pytest.mark.parametrize("norm", [False, True])
def test_float32_stays_close_to_float64(norm: bool) -> None:
    block = {"filters": 8, "kernel": 3, "padding": "same", "bias": True, "norm": norm, "pool": True}
    spec = layers_of([block, block])
    draw = np.random.default_rng(3)
    images, labels = draw.integers(0, 256, (50, 28, 28)).astype(np.uint8), draw.integers(0, 10, 50)
    exact = step(Network(spec, batch_size=50, seed=1, dtype=np.float64), images, labels)
    rough = step(Network(spec, batch_size=50, seed=1), images, labels)
    for precise, single in zip(exact, rough, strict=True):
        assert single.dtype == np.float32
        assert np.linalg.norm(single - precise) <= 1e-4 * np.linalg.norm(precise)


def test_norm_keeps_its_variance_where_the_mean_is_large() -> None:
    block = {"filters": 4, "kernel": 3, "padding": "valid", "bias": False, "norm": True, "pool": False}
    images = np.full((20, 28, 28), 200.0) + np.random.default_rng(0).normal(0, 1.0, (20, 28, 28))
    plain, fused = (Network(layers_of([block]), batch_size=20, seed=1, fused=fused) for fused in (False, True))
    for network in (plain, fused):
        network.forward(images, train=True)
    name = "batch_norm_1/running_var"
    np.testing.assert_allclose(fused.arena.named()[name].value - 0.9, plain.arena.named()[name].value - 0.9, rtol=1e-2)


@pytest.mark.parametrize("shape", [(28, 28, 1), (14, 14, 4), (14, 8, 7), (7, 7, 16)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_first_convolution_may_have_any_number_of_channels(shape: tuple[int, int, int], kernel: int) -> None:
    layers = (Conv2DSpec(filters=3, kernel=kernel), BatchNormSpec(), ReLUSpec(), MaxPool2DSpec(), FlattenSpec())
    spec = NetworkSpec((InputSpec(shape=shape), *layers, DenseSpec(units=10)))
    draw = np.random.default_rng(2)
    images, labels = draw.integers(0, 256, (5, 28, 28)), draw.integers(0, 10, 5)
    plain, fused = (Network(spec, batch_size=5, seed=1, dtype=np.float64, fused=fused) for fused in (False, True))
    for expected, got in zip(step(plain, images, labels), step(fused, images, labels), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9 * max(1.0, np.abs(expected).max()))
    np.testing.assert_allclose(fused.arena.states, plain.arena.states, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", [False, True])
def test_a_shortcut_may_go_round_the_inputs_own_convolution(norm: bool) -> None:
    ends = [BatchNormSpec()] if norm else []
    convs = (ForkSpec(), Conv2DSpec(filters=1), *ends, AddSpec(), ReLUSpec())
    spec = NetworkSpec((InputSpec(), *convs, FlattenSpec(), DenseSpec(units=10)))
    draw = np.random.default_rng(2)
    images, labels = draw.integers(0, 256, (5, 28, 28)), draw.integers(0, 10, 5)
    plain, fused = (Network(spec, batch_size=5, seed=1, dtype=np.float64, fused=fused) for fused in (False, True))
    for expected, got in zip(step(plain, images, labels), step(fused, images, labels), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-7, atol=1e-9 * max(1.0, np.abs(expected).max()))
    np.testing.assert_allclose(fused.forward(images), plain.forward(images), rtol=1e-7, atol=1e-8)


def test_plan_takes_only_what_it_knows() -> None:
    spec = NetworkSpec(
        (
            InputSpec(),
            Conv2DSpec(filters=2),
            SigmoidSpec(),
            Conv2DSpec(filters=2),
            ReLUSpec(),
            MaxPool2DSpec(size=3),
            Conv2DSpec(filters=2),
            BatchNormSpec(),
            ReLUSpec(),
            MaxPool2DSpec(),
            FlattenSpec(),
            DenseSpec(units=10),
        )
    )
    kinds = [type(layer).__name__ for layer in Network(spec).plan]
    assert kinds == [
        "Input",
        "Conv2D",
        "Sigmoid",
        FusedConv.__name__,
        "MaxPool2D",
        FusedConvNorm.__name__,
        "Flatten",
        "Dense",
    ]
    strided = NetworkSpec((InputSpec(), Conv2DSpec(stride=2), BatchNormSpec(), ReLUSpec(), FlattenSpec()))
    kinds = [type(layer).__name__ for layer in Network(strided).plan]
    assert kinds == ["Input", "Conv2D", "BatchNorm", "ReLU", "Flatten"]
    residual = layers_of([NORMED | {"residual": True}, NORMED | {"residual": True, "stride": 2}])
    assert [type(layer).__name__ for layer in Network(residual).plan] == [
        "Input",
        FusedInputConvNorm.__name__,
        "Fork",
        FusedConvNorm.__name__,  # and the add, but not the pool
        "MaxPool2D",
        FusedConvNorm.__name__,
        "Fork",
        *("Conv2D", "BatchNorm", "Add", "ReLU", "MaxPool2D"),
        *("Flatten", "Dense"),
    ]
    first = NetworkSpec((InputSpec(), Conv2DSpec(), BatchNormSpec(), ReLUSpec(), MaxPool2DSpec(), FlattenSpec()))
    assert type(Network(first).plan[1]) is FusedInputConvNorm


def test_of_equal_maxima_the_first_gets_the_gradient() -> None:
    """On whole numbers most squares have several maxima, over patches that differ."""
    draw = np.random.default_rng(0)
    input_grads, grads = [], []
    x = draw.integers(-1, 2, (5, 7, 8, 3)).astype(np.float64)
    weight, dy = draw.integers(-1, 2, (3, 3, 3, 4)), draw.standard_normal((5, 3, 4, 4))
    for fused in (False, True):
        arena = Arena(np.float64)
        context = BuildContext(arena, 5)
        context.name = "conv"
        conv = Conv2DSpec(filters=4, bias=False).build((7, 8, 3), context)
        relu, pool = ReLUSpec().build((7, 8, 4), context), MaxPool2DSpec().build((7, 8, 4), context)
        arena.allocate()
        conv.weight.value[...] = weight
        plan = [FusedConv(conv, pool, context)] if fused else [conv, relu, pool]
        y = x
        for layer in plan:
            y = layer.forward(y, train=True)
        gradient = dy.copy()
        for layer in reversed(plan):
            gradient = layer.backward(gradient)
        input_grads.append(gradient.copy())
        grads.append(arena.grads.copy())
    np.testing.assert_allclose(input_grads[1], input_grads[0], atol=1e-12)
    np.testing.assert_allclose(grads[1], grads[0], atol=1e-12)
