"""The moving average of a training's weights; agreement with PyTorch is in test_against_torch.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.arena import Arena
from mnistnn.augment.translation import Translation
from mnistnn.averaging import MovingAverage
from mnistnn.checkpoint import load_checkpoint, save_checkpoint
from mnistnn.data import Dataset, Split
from mnistnn.errors import CheckpointError
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers import BLOCK
from mnistnn.schedules import OneCycle
from mnistnn.training import Trainer, TrainingSpec, evaluate
from tests.mnistnn.nets import EVERYTHING, TINY
from tests.mnistnn.test_checkpoint import strip_times

Parts = tuple[Split, Split]
DECAY = 0.9


@pytest.fixture(scope="module")
def parts(sample: Dataset) -> Parts:
    images, labels = sample.train_images, sample.train_labels
    return Split(images, labels, np.arange(230)), Split(images, labels, np.arange(230, 380))


def trainer_of(parts: Parts, *, ema: float = DECAY, net: NetworkSpec = EVERYTHING, seed: int = 3) -> Trainer:
    training = TrainingSpec(epochs=3, batch_size=50, schedule=OneCycle(), augment=(Translation(shift=2),), ema=ema)
    return Trainer(Network(net, batch_size=50, seed=seed), training, *parts, seed=seed)


def arena_of(size: int, dtype: type = np.float64) -> Arena:
    arena = Arena(dtype)
    arena.param("weight", (size,), decay=True)
    arena.allocate()
    return arena


def test_it_is_the_sum_that_its_definition_says() -> None:
    arena, draw = arena_of(BLOCK + 7), np.random.default_rng(0)
    arena.params[...] = draw.standard_normal(arena.params.size)
    average, expected = MovingAverage(arena, 0.4), arena.params.copy()
    for step in range(1, 12):
        arena.params[...] = draw.standard_normal(arena.params.size)
        decay = min(0.4, (1 + step) / (10 + step))  # 0.4 from step 5 on
        expected = decay * expected + (1 - decay) * arena.params
        average.update(step)
    np.testing.assert_allclose(average.params, expected, rtol=1e-12, atol=1e-14)


def test_a_warm_update_takes_no_memory(warm_peak: Callable[[Callable[[], object]], int]) -> None:
    arena = arena_of(300_000, np.float32)
    average = MovingAverage(arena, 0.99)
    assert warm_peak(lambda: average.update(7)) < 8 * 1024
    assert average.params.dtype == np.float32


def test_the_training_goes_on_with_its_own_weights(parts: Parts) -> None:
    """Neither its weights nor its statistics nor any of its draws know of the average."""
    averaged, plain = trainer_of(parts), trainer_of(parts, ema=0.0)
    list(averaged.fit())
    list(plain.fit())
    for trainer in (averaged, plain):
        assert trainer.average is None or not np.array_equal(trainer.average.params, trainer.network.arena.params)
    assert averaged.network.arena.params.tobytes() == plain.network.arena.params.tobytes()
    assert averaged.network.arena.states.tobytes() == plain.network.arena.states.tobytes()
    states = [[rng.bit_generator.state for rng in trainer.rngs.values()] for trainer in (averaged, plain)]
    assert repr(states[0]) == repr(states[1])


def test_what_is_validated_and_kept_is_the_average_with_statistics_of_its_own(parts: Parts) -> None:
    trainer, snapshots = trainer_of(parts), []
    images, labels = parts[1].take()
    for metrics in trainer.fit():
        raw = trainer.network.snapshot()
        with trainer.averaged() as network:
            assert network is trainer.network
            assert trainer.average is not None
            assert network.arena.params.tobytes() == trainer.average.params.tobytes()
            assert network.arena.states.tobytes() != raw.states.tobytes()
            assert evaluate(network, images, labels) == (metrics.val_loss, metrics.val_accuracy)
            snapshots.append(network.snapshot())
        assert trainer.network.arena.params.tobytes() == raw.params.tobytes()
        assert trainer.network.arena.states.tobytes() == raw.states.tobytes()
    trainer.restore_best()
    best = snapshots[trainer.best_epoch - 1]
    assert trainer.network.arena.params.tobytes() == best.params.tobytes()
    assert trainer.network.arena.states.tobytes() == best.states.tobytes()


def test_without_validation_the_last_average_is_what_it_came_to(parts: Parts) -> None:
    trainer, validated = trainer_of((parts[0], None)), trainer_of(parts)  # type: ignore[arg-type]
    list(trainer.fit())
    list(validated.fit())
    with validated.averaged() as network:
        last = network.snapshot()
    for _ in range(2):  # once more is the same
        trainer.restore_best()
        assert trainer.network.arena.params.tobytes() == last.params.tobytes()
        assert trainer.network.arena.states.tobytes() == last.states.tobytes()
    assert trainer.best is None


def test_statistics_are_the_means_over_training_batches_as_they_are_trained_on(parts: Parts) -> None:
    """Without augmentation and dropout all of the split's 230 images are: every batch counts as much as any other."""
    kinds = [spec for spec in EVERYTHING.layers if not hasattr(spec, "rate")]
    trainer = Trainer(
        Network(NetworkSpec(tuple(kinds)), batch_size=230),
        TrainingSpec(epochs=1, batch_size=230, ema=DECAY),
        parts[0],
    )
    list(trainer.fit())
    assert trainer.average is not None
    plain = Network(NetworkSpec(tuple(kinds)), batch_size=230)
    plain.arena.params[...] = trainer.average.params
    for layer in plain.layers.values():
        if layer.momentum is not None:
            layer.momentum = 1.0
    plain.forward(parts[0].take()[0], train=True)
    with trainer.averaged() as network:
        np.testing.assert_allclose(network.arena.states, plain.arena.states, rtol=1e-3, atol=1e-4)


def test_a_net_without_norms_looks_at_no_batch_again(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(parts, net=TINY)
    monkeypatch.setattr(Trainer, "_some_batches", lambda self: map(pytest.fail, ["asked"]))
    list(trainer.fit())
    assert trainer.best is not None


def test_momentum_comes_back_even_from_a_batch_that_cannot_be(parts: Parts) -> None:
    network = Network(EVERYTHING, batch_size=10)
    momenta = [layer.momentum for layer in network.layers.values()]
    with pytest.raises(ValueError, match="reshape"):
        network.estimate_states([np.zeros((10, 28, 28)), np.zeros((10, 27, 28))])
    assert [layer.momentum for layer in network.layers.values()] == momenta
    assert {0.1} < {*momenta}


def test_it_goes_on_from_a_checkpoint_to_the_same_bytes(tmp_path: Path, parts: Parts) -> None:
    whole = trainer_of(parts)
    list(whole.fit())
    first = trainer_of(parts)
    next(first.fit())
    save_checkpoint(tmp_path / "part.npz", first)
    second = trainer_of(parts)
    second.network.arena.params[...] = 7  # nothing of the beginning is left
    load_checkpoint(tmp_path / "part.npz", second)
    list(second.fit())
    for trainer in (whole, second):
        strip_times(trainer)
    assert whole.history == second.history
    assert save_checkpoint(tmp_path / "a.npz", second) == save_checkpoint(tmp_path / "b.npz", whole)
    for trainer in (whole, second):
        trainer.restore_best()
    assert second.network.arena.params.tobytes() == whole.network.arena.params.tobytes()
    assert second.network.arena.states.tobytes() == whole.network.arena.states.tobytes()


@pytest.mark.parametrize("decays", [(0.0, DECAY), (DECAY, 0.0), (DECAY, 0.5)])
def test_a_checkpoint_of_another_average_is_refused(tmp_path: Path, parts: Parts, decays: tuple[float, float]) -> None:
    trainer = trainer_of(parts, ema=decays[0])
    next(trainer.fit())
    save_checkpoint(tmp_path / "c.npz", trainer)
    with pytest.raises(CheckpointError, match="same training"):
        load_checkpoint(tmp_path / "c.npz", trainer_of(parts, ema=decays[1]))


def test_a_training_without_one_is_written_as_before_there_were_any() -> None:
    written: dict[str, Any] = TrainingSpec().to_dict()
    assert "ema" not in written
    assert TrainingSpec(ema=0.5).to_dict() == written | {"ema": 0.5}
