"""The faults of the report that this project grew out of. Each test fails if its fault comes back.

What they have in common is that nothing crashed: the nets trained, and the figures were not what they were taken for.
"""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.arena import Arena
from mnistnn.checkpoint import load_checkpoint, load_model, save_checkpoint, save_model
from mnistnn.data import Batches, Dataset, Split
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.dropout import DropoutSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.metrics import accuracy, cross_entropy
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.momentum import Momentum
from mnistnn.optimizers.rmsprop import RMSprop
from mnistnn.optimizers.sgd import SGD
from mnistnn.training import Trainer, TrainingSpec, history_frame
from tests.mnistnn.nets import TINY

Build = Callable[..., Any]
NORMED = NetworkSpec(
    (InputSpec(), Conv2DSpec(filters=2), BatchNormSpec(), ReLUSpec(), FlattenSpec(), DenseSpec(units=10))
)


@pytest.fixture(scope="module")
def train(sample: Dataset) -> Split:
    return Split(sample.train_images, sample.train_labels, np.arange(110))


@pytest.fixture(scope="module")
def validation(sample: Dataset) -> Split:
    return Split(sample.train_images, sample.train_labels, np.arange(110, 210))


def test_best_epoch_kept_references_that_training_went_on_changing(train: Split, validation: Split) -> None:
    trainer = Trainer(Network(TINY), TrainingSpec(epochs=4, batch_size=50), train, validation)
    epochs = trainer.fit()
    next(epochs)
    assert trainer.best is not None
    kept = trainer.best.params.copy()
    first = trainer.best
    list(epochs)
    assert first.params.tobytes() == kept.tobytes()
    assert not np.shares_memory(first.params, trainer.network.arena.params)


def test_restoring_the_best_read_another_attribute_and_restored_nothing(train: Split, validation: Split) -> None:
    trainer = Trainer(Network(TINY), TrainingSpec(epochs=3, batch_size=50), train, validation)
    images, labels = validation.take()
    list(trainer.fit())
    best = trainer.best_metrics
    assert best is not None
    trainer.network.arena.params[...] = 0  # as far from the best as can be
    trainer.restore_best()
    probs = trainer.network.predict_proba(images)
    assert accuracy(labels, probs) == pytest.approx(best.val_accuracy)
    assert cross_entropy(labels, probs) == pytest.approx(best.val_loss, rel=1e-5)


def test_momentum_never_initialised_its_velocity() -> None:
    arena = Arena(np.float64)
    arena.param("weight", (3,), decay=True)
    arena.allocate()
    optimizer = Momentum(momentum=0.9)
    state = optimizer.init(arena)
    assert state["velocity"].tolist() == [0, 0, 0]
    arena.grads[...] = 1
    optimizer.update(state, arena, learning_rate=0.1, step=1)
    np.testing.assert_allclose(arena.params, -0.1)


def test_batch_norm_kept_every_batchs_mean_for_ever(build_layer: Build) -> None:
    layer, arena = build_layer(BatchNormSpec(), (4, 4, 3))
    held = arena.nbytes
    for step in range(50):
        layer.forward(np.random.default_rng(step).standard_normal((5, 4, 4, 3)), train=True)
    assert arena.nbytes == held
    assert {type(value) for value in vars(layer).values()}.isdisjoint({list, dict})


def test_batch_norm_did_not_save_its_statistics(tmp_path: Path, train: Split) -> None:
    network = Network(NORMED)
    images, _ = train.take()
    for start in range(0, 100, 20):
        network.forward(images[start : start + 20], train=True)
    save_model(tmp_path / "m.npz", network)
    loaded = load_model(tmp_path / "m.npz")
    assert not np.allclose(loaded.arena.states, Network(NORMED).arena.states)
    np.testing.assert_allclose(loaded.predict_proba(images), network.predict_proba(images), atol=1e-6)


def test_batch_norm_took_flat_inputs_only(build_layer: Build) -> None:
    layer, _ = build_layer(BatchNormSpec(), (6, 5, 3))
    layer.initialise(np.random.default_rng(0))
    y = layer.forward(2 + np.random.default_rng(0).standard_normal((5, 6, 5, 3)), train=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)  # a channel, over all its places


def test_batch_norms_variance_gradient_lacked_gamma(build_layer: Build) -> None:
    """The gradient by the input is linear in gamma; where a term lacks it, it is not."""
    layer, arena = build_layer(BatchNormSpec(), (4,))
    x, dy = np.random.default_rng(0).standard_normal((2, 5, 4))
    results = []
    for gamma in (1.0, 3.0):
        arena.named()["layer/gamma"].value[...] = gamma
        layer.forward(x, train=True)
        results.append(layer.backward(dy.copy()).copy())
    np.testing.assert_allclose(results[1], 3 * results[0], atol=1e-12)


def test_the_learning_rate_of_train_was_ignored(train: Split) -> None:
    moved = []
    for rate in (1e-3, 2e-3):
        network = Network(TINY, batch_size=200)
        before = network.arena.params.copy()
        spec = TrainingSpec(epochs=1, batch_size=200, optimizer=SGD(learning_rate=rate))  # one step
        list(Trainer(network, spec, train).fit())
        moved.append(network.arena.params - before)
    np.testing.assert_allclose(moved[1], 2 * moved[0], atol=1e-6)
    assert np.abs(moved[0]).max() > 1e-5


def test_rmsprops_epsilon_was_unused() -> None:
    steps = []
    for eps in (1e-8, 0.1):
        arena = Arena(np.float64)
        arena.param("weight", (1,), decay=True)
        arena.allocate()
        arena.grads[...] = 1
        optimizer = RMSprop(rho=0.5, eps=eps)
        optimizer.update(optimizer.init(arena), arena, learning_rate=0.1, step=1)
        steps.append(-arena.params[0])
    assert steps == pytest.approx([0.1 / (0.5**0.5 + 1e-8), 0.1 / (0.5**0.5 + 0.1)])


def test_convolution_took_one_channel(build_layer: Build) -> None:
    layer, arena = build_layer(Conv2DSpec(filters=1, kernel=1, bias=False), (3, 3, 4))
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 4))
    weight = arena.named()["layer/weight"].value[0, 0, :, 0]
    np.testing.assert_allclose(layer.forward(x, train=False)[..., 0], x @ weight)


def test_dropout_was_not_inverted(build_layer: Build) -> None:
    """Inference must be the bare network: what training leaves out it makes up for itself."""
    layer, _ = build_layer(DropoutSpec(rate=0.4), (5000,))
    ones = np.ones((5, 5000))
    np.testing.assert_array_equal(layer.forward(ones, train=False), 1)
    assert layer.forward(ones, train=True).mean() == pytest.approx(1, abs=0.02)


def test_prediction_ran_one_image_at_a_time() -> None:
    network = Network(TINY, batch_size=100)
    calls = []
    forward = network.forward

    def counted(images: Any, *, train: bool = False) -> Any:
        calls.append(len(images))
        return forward(images, train=train)

    network.forward = counted  # type: ignore[method-assign]
    network.predict(np.zeros((250, 28, 28), np.uint8))
    assert calls == [100, 100, 50]


def test_batches_were_drawn_with_replacement(train: Split) -> None:
    batches, rng = Batches(train, 20), np.random.default_rng(0)
    for _ in range(3):
        drawn = np.concatenate([images.reshape(len(images), -1).copy() for images, _ in batches.epoch(rng)])
        everything = train.take()[0].reshape(len(train), -1)
        assert sorted(map(bytes, drawn)) == sorted(map(bytes, everything))


def test_validation_was_sampled(train: Split, validation: Split) -> None:
    """Validated is all of the validation images, each once, in batches that do not divide their number."""
    trainer = Trainer(Network(TINY, batch_size=30), TrainingSpec(epochs=2, batch_size=30), train, validation)
    history = list(trainer.fit())
    images, labels = validation.take()
    probs = trainer.network.predict_proba(images)
    assert history[-1].val_accuracy == accuracy(labels, probs)
    assert history[-1].val_loss == pytest.approx(cross_entropy(labels, probs), rel=1e-5)


def test_the_epochs_length_was_the_constant_60000(train: Split) -> None:
    trainer = Trainer(Network(TINY), TrainingSpec(epochs=2, batch_size=50), train)
    (first, second) = trainer.fit()
    assert trainer.step == 2 * 3  # 110 images: 50, 50 and 10
    assert second.images_per_s == pytest.approx(110 / second.seconds)
    assert first.epoch == 1


@pytest.mark.parametrize("every", [2, 3])
def test_validating_each_second_epoch_lost_history(train: Split, validation: Split, every: int) -> None:
    spec = TrainingSpec(epochs=5, batch_size=50, validate_every=every)
    trainer = Trainer(Network(TINY), spec, train, validation)
    history = list(trainer.fit())
    validated = [metrics.epoch for metrics in history if metrics.val_loss is not None]
    assert [metrics.epoch for metrics in history] == [1, 2, 3, 4, 5]
    assert validated == [epoch for epoch in range(1, 6) if epoch % every == 0 or epoch == 5]
    assert len(history_frame(history)) == 5
    assert trainer.best_epoch in validated


def test_the_test_set_chose_the_best_epoch() -> None:
    """Training knows of two splits of the training images; only the one function that counts opens the test images."""
    import mnistnn.network
    import mnistnn.training

    assert "open_test" not in inspect.getsource(mnistnn.training)
    assert "open_test" not in inspect.getsource(mnistnn.network)
    taken = set(inspect.signature(Trainer).parameters)
    assert taken == {"network", "spec", "train", "validation", "shifted", "seed", "monitor"}


def test_history_was_a_pickle(tmp_path: Path, train: Split, validation: Split) -> None:
    trainer = Trainer(Network(TINY), TrainingSpec(epochs=2, batch_size=50, optimizer=Adam()), train, validation)
    list(trainer.fit())
    save_checkpoint(tmp_path / "c.npz", trainer)
    with zipfile.ZipFile(tmp_path / "c.npz") as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                np.lib.format.read_array(member, allow_pickle=False)
    again = Trainer(Network(TINY), trainer.spec, train, validation)
    load_checkpoint(tmp_path / "c.npz", again)
    assert again.history == trainer.history
    root = Path(__file__).parents[2] / "mnistnn"
    users = [
        path
        for path in root.rglob("*.py")
        if "import pickle" in path.read_text() or "allow_pickle=True" in path.read_text()
    ]
    assert users == []


def test_the_loss_took_the_logarithm_of_zero() -> None:
    logits = np.array([[200.0, -200.0]], np.float32)  # so sure that the softmax is 0 in float32
    loss = SoftmaxCrossEntropy(2, 1)
    assert loss.forward(logits, np.array([1])) == pytest.approx(400)
    assert np.isfinite(loss.backward()).all()
    assert np.isfinite(cross_entropy(np.array([1]), np.array([[1.0, 0.0]])))
