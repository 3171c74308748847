"""PyTorch as the referee. Its values lie in tests/data/reference, made by tests/data/make_reference.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnistnn.architecture import Block, ConvNet
from mnistnn.arena import Arena
from mnistnn.averaging import MovingAverage
from mnistnn.layer import Layer, LayerSpec
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.dropout import DropoutSpec
from mnistnn.layers.global_avg_pool2d import GlobalAvgPool2DSpec
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.losses import SoftmaxCrossEntropy, softmax
from mnistnn.metrics import cross_entropy
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers import OptimizerSpec
from mnistnn.optimizers.adam import Adam
from mnistnn.presets import preset
from mnistnn.registry import optimizer
from mnistnn.schedules import Cosine, OneCycle, ScheduleSpec, Step

FOLDER = Path(__file__).parents[1] / "data" / "reference"
CLOSE = {"rtol": 1e-5, "atol": 1e-8}

LAYERS: dict[str, LayerSpec] = {
    "conv2d_same3": Conv2DSpec(filters=5, kernel=3, padding="same"),
    "conv2d_same5": Conv2DSpec(filters=5, kernel=5, padding="same"),
    "conv2d_valid3": Conv2DSpec(filters=5, kernel=3, padding="valid"),
    "conv2d_valid5": Conv2DSpec(filters=5, kernel=5, padding="valid"),
    "dense": DenseSpec(units=6),
    "batch_norm_flat": BatchNormSpec(),
    "batch_norm_map": BatchNormSpec(),
    "max_pool2d_2": MaxPool2DSpec(size=2),
    "max_pool2d_3": MaxPool2DSpec(size=3),
    "relu": ReLUSpec(),
    "sigmoid": SigmoidSpec(),
}
STRIDED: dict[str, LayerSpec] = {
    "conv2d_same3_stride2": Conv2DSpec(filters=5, kernel=3, stride=2),
    "conv2d_same5_stride2": Conv2DSpec(filters=5, kernel=5, stride=2),
    "conv2d_valid3_stride2": Conv2DSpec(filters=5, kernel=3, padding="valid", stride=2),
    "conv2d_valid5_stride3": Conv2DSpec(filters=5, kernel=5, padding="valid", stride=3),
    "global_avg_pool2d": GlobalAvgPool2DSpec(),
}


def reference(name: str) -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("case", [*LAYERS, *STRIDED])
def test_a_layers_output_and_gradients(case: str, build_layer: Callable[..., tuple[Layer, Arena]]) -> None:
    spec, file = (LAYERS[case], "layers") if case in LAYERS else (STRIDED[case], "strided")
    known = {key.split(".")[1]: value for key, value in reference(file).items() if key.split(".")[0] == case}
    known = {name: value.squeeze((1, 2)) if value.shape[1:3] == (1, 1) else value for name, value in known.items()}
    layer, arena = build_layer(spec, known["x"].shape[1:], max_batch=len(known["x"]))
    named = {name.split("/")[1]: param for name, param in arena.named().items()}
    for name, param in named.items():
        if not name.startswith("running"):
            param.value[...] = known[name]
    np.testing.assert_allclose(layer.forward(known["x"], train=True), known["y"], **CLOSE)
    np.testing.assert_allclose(layer.backward(known["dy"].copy()), known["dx"], **CLOSE)
    for param in layer.params:
        np.testing.assert_allclose(param.grad, known["d" + param.name.split("/")[1]], **CLOSE)
    if "running_mean" in known:
        for name in ("running_mean", "running_var"):
            np.testing.assert_allclose(named[name].value, known[name], **CLOSE)
        np.testing.assert_allclose(layer.forward(known["x"], train=False), known["y_eval"], **CLOSE)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_and_its_gradient(smoothing: float) -> None:
    known = reference("losses")
    loss = SoftmaxCrossEntropy(10, 12, label_smoothing=smoothing, dtype=np.float64)
    assert loss.forward(known["logits"], known["labels"]) == pytest.approx(known[f"loss_{smoothing}"], rel=1e-12)
    np.testing.assert_allclose(loss.backward(), known[f"dlogits_{smoothing}"], **CLOSE)
    np.testing.assert_allclose(softmax(known["logits"]), known["probs"], **CLOSE)
    assert loss.plain_loss == pytest.approx(known["loss_0.0"], rel=1e-12)
    assert cross_entropy(known["labels"], known["probs"]) == pytest.approx(known["loss_0.0"], rel=1e-12)


# What the script gives PyTorch; the rest are PyTorch's defaults, and must be ours.
OPTIMIZERS: dict[str, dict[str, float]] = {
    "sgd": {},
    "momentum": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8},
    "adagrad": {},
    "rmsprop": {},
    "adadelta": {},
    "adam": {"beta1": 0.8, "beta2": 0.99, "eps": 1e-3},
    "adamw": {},
}


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_of_an_optimizer(name: str, decay: float) -> None:
    known = reference("optimizers")
    n_decay = int(known["n_decay"])
    spec: OptimizerSpec = optimizer.get(name)(**OPTIMIZERS[name], weight_decay=decay)  # type: ignore[assignment]
    arena = Arena(np.float64)
    arena.param("weights", (n_decay,), decay=True)
    arena.param("biases", (len(known["start"]) - n_decay,), decay=False)
    arena.allocate()
    arena.params[...] = known["start"]
    state = spec.init(arena)
    for step, (grads, params) in enumerate(zip(known["grads"], known[f"{name}_{decay}"], strict=True), start=1):
        arena.grads[...] = grads
        spec.update(state, arena, learning_rate=0.03, step=step)
        np.testing.assert_allclose(arena.params, params, **CLOSE)


@pytest.mark.parametrize(
    ("case", "spec"),
    [
        ("cosine", Cosine(end=0.1)),
        ("cosine_cycles", Cosine(end=0.1, cycles=4)),
        ("cosine_warmup", Cosine(end=0.1, warmup=0.2)),
        ("step", Step(drops=2, gamma=0.3)),
        ("one_cycle_10", OneCycle()),
        ("one_cycle_37", OneCycle()),
    ],
)
def test_a_schedule(case: str, spec: ScheduleSpec) -> None:
    known = reference("schedules")[case]
    np.testing.assert_allclose([spec.factor(step, len(known)) for step in range(len(known))], known, **CLOSE)


CONV2 = NetworkSpec(tuple(spec for spec in preset("conv2").network.layers if not isinstance(spec, DropoutSpec)))
RESIDUAL = ConvNet(
    blocks=(Block(filters=4, convs=3, residual=True), Block(filters=6, convs=2, stride=2, residual=True))
)


def ten_steps(
    fused: bool, after: Callable[[Network, int], object] = lambda net, step: None, spec: NetworkSpec = CONV2
) -> tuple[Network, NDArray[Any], list[float]]:
    """Trains as the script does; returns the network, the batches and the losses."""
    net = Network(spec, batch_size=8, dtype=np.float64, fused=fused)
    draws = np.random.RandomState(4)  # frozen streams: the script draws the same
    for layer in net.layers.values():
        for param in layer.params:
            fan_in = max(1, int(np.prod(param.shape[:-1])))
            param.value[...] = draws.standard_normal(param.shape) / fan_in**0.5
    images = np.zeros((10, 8, 28, 28))
    images[:, :, 6:22, 8:20] = draws.randint(0, 256, (10, 8, 16, 12))
    labels = draws.randint(0, 10, (10, 8))

    loss, adam = SoftmaxCrossEntropy(10, 8, label_smoothing=0.05, dtype=np.float64), Adam()
    state, losses = adam.init(net.arena), []
    after(net, 0)
    for step in range(10):
        losses.append(loss.forward(net.forward(images[step], train=True), labels[step]))
        net.backward(loss.backward())
        adam.update(state, net.arena, learning_rate=1e-3, step=step + 1)
        after(net, step + 1)
    return net, images, losses


def check_what_it_learnt(net: Network, images: NDArray[Any], known: dict[str, NDArray[Any]]) -> None:
    named = net.arena.named()
    assert {*known} - {"losses", "logits"} == {*named}
    for name, param in named.items():
        stride = max(1, param.size // 200) if "running" not in name else 1
        np.testing.assert_allclose(param.value.reshape(-1)[::stride], known[name], **CLOSE, err_msg=name)
    np.testing.assert_allclose(net.forward(images[0]), known["logits"], **CLOSE)


@pytest.mark.parametrize("fused", [False, True])
def test_ten_training_steps_of_conv2(fused: bool) -> None:
    known = reference("conv2")
    net, images, losses = ten_steps(fused)
    np.testing.assert_allclose(losses, known["losses"], **CLOSE)
    check_what_it_learnt(net, images, known)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("case", "changes"),
    [("same", {"norm": BatchNormSpec()}), ("valid", {"norm": BatchNormSpec(), "padding": "valid"}), ("bare", {})],
)
def test_ten_training_steps_of_residual_blocks(case: str, changes: dict[str, Any], fused: bool) -> None:
    parts = [(*key.partition("."), value) for key, value in reference("residual").items()]
    known = {name: value for found, _, name, value in parts if found == case}
    net, images, losses = ten_steps(fused, spec=replace(RESIDUAL, **changes).network())
    np.testing.assert_allclose(losses, known["losses"], **CLOSE)
    check_what_it_learnt(net, images, known)


@pytest.mark.parametrize("fused", [False, True])
def test_the_average_of_their_weights_and_its_own_statistics(fused: bool) -> None:
    averages: list[MovingAverage] = []

    def take_in(net: Network, step: int) -> None:
        if step == 0:
            averages.append(MovingAverage(net.arena, 0.5))
        else:
            averages[0].update(step)

    net, images, _ = ten_steps(fused, take_in)
    net.arena.params[...] = averages[0].params
    net.estimate_states(images)
    check_what_it_learnt(net, images, reference("averaged"))
