"""PyTorch as the referee of whole networks: the twin that benchmarks race against is the same network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from benchmarks.contenders import sample
from benchmarks.nets import NAMES, Case, drawn_cases, named_case
from mnistnn.architecture import Block, ConvNet
from mnistnn.errors import SpecError
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.adamw import AdamW
from mnistnn.registry import optimizer

torch = pytest.importorskip("torch", reason="needs PyTorch (make setup-bench)")

CONVNETS = st.builds(
    ConvNet,
    blocks=st.lists(
        st.builds(
            Block,
            filters=st.sampled_from([1, 3, 8]),
            kernel=st.sampled_from([3, 5, 7]),
            convs=st.integers(1, 2),
            pool=st.booleans(),
        ),
        max_size=3,
    ).map(tuple),
    padding=st.sampled_from(["same", "valid"]),
    activation=st.sampled_from([ReLUSpec(), SigmoidSpec()]),
    norm=st.sampled_from([None, BatchNormSpec(), BatchNormSpec(momentum=0.3)]),
    dense_units=st.sampled_from([0, 12]),
    scaling=st.sampled_from(["unit", "standard"]),
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def without_dropout(case: Case) -> Case:
    convnet = replace(case.convnet, dropout=0.0, block_dropout=0.0, dense_dropout=0.0)
    return replace(case, convnet=convnet)


def shaken(network: Network) -> Network:
    """Gives biases and norms values whose absence would be seen, scales of either sign among them."""
    draw = np.random.default_rng(7)
    for name, param in network.arena.named().items():
        if name.endswith(("gamma", "beta", "bias")):
            param.value[...] = draw.standard_normal(param.shape)
        elif name.endswith("running_mean"):
            param.value[...] = 0.1 * draw.standard_normal(param.shape)
    return network


def twin_of(network: Network, case: Case) -> Any:
    from benchmarks.torch_nets import copy_params, torch_network

    twin = torch_network(case.network).double()
    copy_params(network, twin)
    return twin


def in_torch_s_order(network: Network, attribute: str) -> list[np.ndarray]:
    """Returns the params' values or grads, layer by layer, as the twin's parameters have them."""
    from benchmarks.torch_nets import turn_weight, weight_maps

    found = []
    for name, map_shape in weight_maps(network).items():
        for param in network.layers[name].params:
            array = getattr(param, attribute)
            found.append(turn_weight(array, map_shape) if param.name.endswith("/weight") else array)
    return found


def check(case: Case, *, fused: bool, rows: int = 6) -> None:
    """Holds outputs, loss, gradients and statistics of a network equal to its twin's."""
    from benchmarks.torch_nets import torch_images

    images, labels = (array[:rows] for array in sample())
    network = shaken(Network(case.network, batch_size=rows, seed=3, dtype=np.float64, fused=fused))
    twin = twin_of(network, case)
    loss = SoftmaxCrossEntropy(network.classes, rows, dtype=np.float64)
    logits = network.forward(images, train=True)
    pixels = torch_images(case.network, images, dtype=torch.float64)
    expected = twin(pixels)
    np.testing.assert_allclose(logits, expected.detach(), rtol=1e-8, atol=1e-9)
    value = torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels))
    assert loss.forward(logits, labels) == pytest.approx(value.item(), rel=1e-9)
    network.backward(loss.backward())
    value.backward()
    own, theirs = in_torch_s_order(network, "grad"), [param.grad.numpy() for param in twin.parameters()]
    scale = max(1.0, *(float(np.abs(grad).max()) for grad in theirs))
    for grad, wanted in zip(own, theirs, strict=True):
        np.testing.assert_allclose(grad, wanted, rtol=1e-6, atol=1e-9 * scale)
    statistics = [buffer.numpy() for name, buffer in twin.named_buffers() if "running" in name]
    states = [param.value for name, param in network.arena.named().items() if "running" in name]
    for state, wanted in zip(states, statistics, strict=True):
        np.testing.assert_allclose(state, wanted, rtol=1e-8, atol=1e-10)
    with torch.inference_mode():
        expected = twin.eval()(pixels)
    np.testing.assert_allclose(network.forward(images), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_named_net_equals_its_twin(name: str, fused: bool) -> None:
    check(without_dropout(named_case(name)), fused=fused)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(CONVNETS, st.integers(2, 9))
def test_a_drawn_net_equals_its_twin(convnet: ConvNet, rows: int) -> None:
    case = Case(name="drawn", group="draw", convnet=convnet)
    try:
        Network(case.network, batch_size=1, initialise=False)
    except SpecError:  # pooled or cut once too often
        reject()
    check(case, fused=True, rows=rows)


@pytest.mark.slow
def test_the_draws_of_the_default_space_equal_their_twins() -> None:
    for case in drawn_cases():
        check(without_dropout(case), fused=True, rows=4)


@pytest.mark.parametrize("spec", [Adam(learning_rate=3e-3), Adam(weight_decay=0.1), AdamW(weight_decay=0.3)])
def test_training_takes_the_same_steps(spec: Any) -> None:
    """Over three steps: the optimizer's own settings, and what it decays."""
    from benchmarks.torch_nets import torch_images, torch_optimizer

    case = replace(without_dropout(named_case("small-norm")), optimizer=spec)
    network = shaken(Network(case.network, batch_size=20, seed=3, dtype=np.float64))
    twin, state = twin_of(network, case), spec.init(network.arena)
    rival = torch_optimizer(spec, twin)
    loss = SoftmaxCrossEntropy(network.classes, 20, dtype=np.float64)
    images, labels = sample()
    for number in range(3):
        rows = slice(20 * number, 20 * number + 20)
        loss.forward(network.forward(images[rows], train=True), labels[rows])
        network.backward(loss.backward())
        spec.update(state, network.arena, learning_rate=spec.learning_rate, step=number + 1)
        rival.zero_grad()
        logits = twin(torch_images(case.network, images[rows], dtype=torch.float64))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[rows])).backward()
        rival.step()
    for own, wanted in zip(in_torch_s_order(network, "value"), twin.parameters(), strict=True):
        np.testing.assert_allclose(own, wanted.detach(), rtol=1e-5, atol=1e-7)


def test_both_steps_begin_at_the_same_loss_and_learn() -> None:
    from benchmarks.contenders import LAYOUTS, our_step, torch_step

    case = without_dropout(named_case("report"))
    steps = [our_step(case), our_step(case, fused=False), *(torch_step(case, layout) for layout in LAYOUTS)]
    for step in steps:
        losses = [step(number) for number in range(2 * 18)]
        assert 1.8 < losses[0] < 3.2
        assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_what_has_no_counterpart_is_refused() -> None:
    from benchmarks.torch_nets import torch_optimizer

    sgd: Any = optimizer.get("sgd")()
    with pytest.raises(ValueError, match="no counterpart"):
        torch_optimizer(sgd, torch.nn.Linear(2, 2))
