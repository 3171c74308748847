from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import DataError, SpecError
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network, NetworkSpec, child_seed
from mnistnn.optimizers.adamw import AdamW
from mnistnn.presets import PRESETS, preset
from mnistnn.training import TrainingSpec
from tests.mnistnn.nets import EVERYTHING, RESIDUAL, TINY

NETS = {name: preset(name).network for name in PRESETS} | {"residual": RESIDUAL}


def pictures(n: int, seed: int = 0) -> Any:
    """Noise on a blank ground, in pixel units."""
    images = np.zeros((n, 28, 28), np.uint8)
    images[:, 5:24, 4:22] = np.random.default_rng(seed).integers(0, 256, (n, 19, 18))
    return images


def rewound(network: Network) -> Iterator[None]:
    """Puts the drawing layers' generators back to where they are now, before each use."""
    states = {name: rng.bit_generator.state for name, rng in network.rngs.items()}
    while True:
        for name, rng in network.rngs.items():
            rng.bit_generator.state = states[name]
        yield


@pytest.mark.parametrize(("smoothing", "fused"), [(0.0, False), (0.1, False), (0.1, True)])
def test_a_whole_nets_gradient_is_that_of_central_differences(smoothing: float, fused: bool) -> None:
    network = Network(EVERYTHING, batch_size=6, dtype=np.float64, seed=3, fused=fused)
    rng = np.random.default_rng(0)
    network.arena.params[...] += 0.1 * rng.standard_normal(network.param_count)
    images, labels = pictures(6), rng.integers(0, 10, 6)
    loss = SoftmaxCrossEntropy(10, 6, label_smoothing=smoothing, dtype=np.float64)
    same_draws = rewound(network)

    def value() -> float:
        next(same_draws)
        return loss.forward(network.forward(images, train=True), labels)

    value()
    network.backward(loss.backward())
    grads, params = network.arena.grads.copy(), network.arena.params
    picked = np.concatenate(  # some of each array, so that none is overlooked
        [start + rng.permutation(size)[:6] for start, size in zip(*starts(network), strict=True)]
    )
    for index in picked:
        middle, step = params[index], 1e-5
        params[index] = middle + step
        above = value()
        params[index] = middle - step
        below = value()
        params[index] = middle
        assert grads[index] == pytest.approx((above - below) / (2 * step), rel=1e-4, abs=1e-8)


def starts(network: Network) -> tuple[list[int], list[int]]:
    sizes = [param.size for param in network.arena.named().values() if "running" not in param.name]
    return [int(start) for start in np.cumsum([0, *sizes[:-1]])], sizes


def test_float32_stays_near_float64() -> None:
    wide, narrow = (Network(EVERYTHING, batch_size=8, dtype=dtype, seed=3) for dtype in (np.float64, np.float32))
    images, labels = pictures(8), np.arange(8)
    results = []
    for network in (wide, narrow):
        loss = SoftmaxCrossEntropy(10, 8, dtype=network.arena.dtype)
        value = loss.forward(network.forward(images, train=True), labels)
        network.backward(loss.backward())
        assert network.arena.grads.dtype == network.arena.dtype
        results.append((value, network.arena.grads.copy(), network.predict_proba(images)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one)


def test_the_same_seed_gives_the_same_net_and_another_another() -> None:
    one, same, other = (Network(EVERYTHING, seed=seed).arena.params for seed in (5, 5, 6))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def test_adding_a_layer_without_params_leaves_the_seeds_of_those_before_alone() -> None:
    first = Network(TINY, seed=1).layers["dense_1"].params[0].value
    longer = NetworkSpec((*TINY.layers[:2], FlattenSpec(), *TINY.layers[2:]))
    assert first.tobytes() == Network(longer, seed=1).layers["dense_1"].params[0].value.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_are_taken_in_pixel_units_whatever_their_type(dtype: type) -> None:
    network = Network(TINY)
    images = pictures(5)
    np.testing.assert_allclose(network.forward(images.astype(dtype)), network.forward(images).copy(), rtol=1e-5)


def test_predictions_come_in_batches_and_do_not_depend_on_them() -> None:
    images = pictures(23)
    probs = Network(EVERYTHING, batch_size=10, seed=1).predict_proba(images)
    assert probs.shape == (23, 10)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=1e-5)
    for batch_size in (1, 23, 100):
        network = Network(EVERYTHING, batch_size=batch_size, seed=1)
        np.testing.assert_allclose(network.predict_proba(images), probs, atol=1e-6)
        assert network.predict(images).tolist() == probs.argmax(axis=1).tolist()
    assert network.predict_proba(images[:0]).shape == (0, 10)


def test_prediction_changes_nothing() -> None:
    network = Network(EVERYTHING, seed=1)
    network.forward(pictures(9), train=True)
    before = (network.arena.params.tobytes(), network.arena.states.tobytes())
    states = [rng.bit_generator.state for rng in network.rngs.values()]
    network.predict(pictures(30))
    assert before == (network.arena.params.tobytes(), network.arena.states.tobytes())
    np.testing.assert_equal([rng.bit_generator.state for rng in network.rngs.values()], states)


def test_a_snapshot_is_a_copy() -> None:
    network = Network(EVERYTHING, seed=1)
    network.forward(pictures(9), train=True)
    probs, kept = network.predict_proba(pictures(9)), network.snapshot()
    network.arena.params[...] += 1
    network.forward(pictures(9, 1), train=True)
    assert not np.allclose(network.predict_proba(pictures(9)), probs)
    network.restore(kept)
    np.testing.assert_array_equal(network.predict_proba(pictures(9)), probs)
    network.arena.params[...] += 1
    network.restore(kept)  # a second time, and the first use has not tied it to the net
    np.testing.assert_array_equal(network.predict_proba(pictures(9)), probs)


@pytest.mark.parametrize("name", NETS)
def test_a_warm_training_step_takes_next_to_no_memory(
    name: str, warm_peak: Callable[[Callable[[], object]], int]
) -> None:
    network = Network(NETS[name], batch_size=50)
    loss, optimizer = SoftmaxCrossEntropy(10, 50), AdamW()
    state, images, labels = optimizer.init(network.arena), pictures(50), np.zeros(50, np.int64)

    def step() -> None:
        loss.forward(network.forward(images, train=True), labels)
        network.backward(loss.backward())
        optimizer.update(state, network.arena, learning_rate=1e-3, step=1)

    assert warm_peak(step) < 80 * 1024


@pytest.mark.parametrize("name", NETS)
def test_it_knows_its_own_size(name: str) -> None:
    """`nbytes` bounds a worker's memory, so it must not leave out what the net allocates."""
    tracemalloc.start()
    try:
        network = Network(NETS[name], fused=False)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert network.nbytes == pytest.approx(taken, rel=0.05, abs=200_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", PRESETS)
def test_at_work_it_takes_no_more_than_it_says(name: str) -> None:
    """Memory is counted as the system sees it, for the fast plan leaves buffers of the plain layers untouched."""
    program = f"""
import numpy as np
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network
from mnistnn.presets import preset
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
np.ones((500, 500)) @ np.ones((500, 500))  # BLAS takes its own memory at its first use
before = resident()
network, loss = Network(preset({name!r}).network), SoftmaxCrossEntropy(10, 100)
for _ in range(2):
    loss.forward(network.forward(np.ones((100, 28, 28)), train=True), np.zeros(100, int))
    network.backward(loss.backward())
    network.forward(np.ones((100, 28, 28)))
print((resident() - before) / 1e6, network.nbytes / 1e6)
"""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    taken_mb, said_mb = map(float, run.stdout.split())
    assert taken_mb < 1.1 * said_mb + 10


def test_its_summary_is_a_table_of_layers() -> None:
    network = Network(preset("report").network)
    lines = network.summary().splitlines()
    assert lines[0].split() == ["layer", "output", "params", "MACs"]
    assert "conv2d_1      28 × 28 × 32     832  627,200" in lines
    assert lines[-1].split() == ["total", f"{network.param_count:,}", f"{network.macs:,}"]
    assert network.param_count == 832 + 6272 * 10 + 10
    assert network.macs == 28 * 28 * 25 * 32 + 62720


def test_a_spec_goes_to_plain_values_and_back() -> None:
    assert NetworkSpec.from_dict(EVERYTHING.to_dict()) == EVERYTHING
    assert hash(EVERYTHING) == hash(NetworkSpec.from_dict(EVERYTHING.to_dict()))


@pytest.mark.parametrize(
    "values", [[], None, {}, {"layers": []}, {"layers": "dense"}, {"layers": ["dense"]}, {"layers": [{}]}]
)
def test_what_is_no_network_is_refused(values: Any) -> None:
    with pytest.raises(SpecError):
        NetworkSpec.from_dict(values)


@pytest.mark.parametrize(
    ("layers", "rule"),
    [
        ((InputSpec(), DenseSpec()), "flat"),
        ((InputSpec(), Conv2DSpec()), "row of logits"),
        ((InputSpec(shape=(784,)), Conv2DSpec()), "map"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers: Any, rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        Network(NetworkSpec(layers))


def test_a_batch_size_of_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="batch_size"):
        Network(TINY, batch_size=0)


def test_a_net_without_params_can_be_run() -> None:
    network = Network(NetworkSpec((InputSpec(shape=(784,)), ReLUSpec())))
    network.forward(pictures(3), train=True)
    network.backward(np.zeros((3, 784), np.float32))
    assert network.param_count == 0


def test_no_gradient_is_taken_that_nobody_needs() -> None:
    """The pixels learn nothing; a convolution's gradient by its input is as dear as that by its weights."""
    layers = Network(EVERYTHING).layers
    assert [layers[f"conv2d_{i}"].input_grad for i in (1, 2, 3)] == [False, True, True]  # type: ignore[attr-defined]


def test_child_seeds_are_named_not_counted() -> None:
    seed = np.random.SeedSequence(7, spawn_key=(2,))
    one, other = child_seed(seed, 0), child_seed(seed, 1)
    assert one.generate_state(2).tolist() == child_seed(seed, 0).generate_state(2).tolist()
    assert one.generate_state(2).tolist() != other.generate_state(2).tolist()
    assert seed.n_children_spawned == 0
    assert child_seed(7, 2, 0).generate_state(1) == one.generate_state(1)


def test_fit_trains_on_arrays_and_ends_with_the_best(sample: Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    images, labels = np.asarray(sample.train_images[:600]), np.asarray(sample.train_labels[:600])
    network = Network(TINY, seed=2)
    held_out = (sample.train_images[600:900], sample.train_labels[600:900])
    history = network.fit(images, labels, validation=held_out, training=TrainingSpec(epochs=4), progress=False)
    assert [metrics.epoch for metrics in history] == [1, 2, 3, 4]
    assert history[-1].train_loss < history[0].train_loss
    best = min(history, key=lambda metrics: metrics.val_loss or 0)
    assert np.mean(network.predict(held_out[0]) == held_out[1]) == pytest.approx(best.val_accuracy)
    assert capfd.readouterr() == ("", "")


def test_fit_shows_a_bar_of_its_epochs_in_a_notebook_and_none_in_a_pipe(
    sample: Dataset, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = sample.train_images[:200], sample.train_labels[:200]
    Network(TINY).fit(images, labels, training=TrainingSpec(epochs=2))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    Network(TINY).fit(images, labels, training=TrainingSpec(epochs=2))
    out, err = capfd.readouterr()
    assert out == ""
    assert "2/2" in err
    assert "loss=" in err


def test_fit_takes_batches_that_the_network_holds(sample: Dataset) -> None:
    network = Network(TINY, batch_size=30)
    network.fit(sample.train_images[:60], sample.train_labels[:60], progress=False)
    with pytest.raises(SpecError, match="smaller batches"):
        network.fit(sample.train_images[:60], sample.train_labels[:60], training=TrainingSpec(), progress=False)


def test_fit_refuses_fractions_which_predict_would_take_for_black(sample: Dataset) -> None:
    images, labels = sample.train_images[:60], sample.train_labels[:60]
    for given, validation in ((images / 255, None), (images, (images / 255, labels))):
        with pytest.raises(DataError, match="whole numbers from 0 to 255, but got float64"):
            Network(TINY).fit(given, labels, validation=validation, progress=False)


def test_fractions_of_one_are_refused() -> None:
    with pytest.raises(DataError, match="pixel units 0 to 255, but got fractions"):
        Network(TINY).predict_proba(pictures(3) / 255)
    assert Network(TINY).predict(pictures(2).tolist()).shape == (2,)


def test_repr_says_how_large_it_is() -> None:
    network = Network(TINY)
    assert repr(network).startswith(f"<Network: {len(TINY.layers)} layers, {network.param_count:,} parameters, ")


@pytest.mark.parametrize("shape", [(28, 28), (3, 20, 28), (3, 784), (3, 28, 28, 1)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="must have the shape"):
        Network(TINY).predict_proba(np.zeros(shape, np.uint8))


def test_weights_decay_and_neither_biases_nor_norms_do() -> None:
    arena = Network(EVERYTHING).arena
    decayed = {
        name for name, param in arena.named().items() if np.shares_memory(param.value, arena.params[: arena.n_decay])
    }
    weights = {name for name in arena.named() if name.endswith("/weight")}
    assert decayed == weights
    assert sum(arena.named()[name].size for name in weights) == arena.n_decay
