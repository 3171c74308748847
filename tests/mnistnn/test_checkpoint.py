from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.augment.translation import Translation
from mnistnn.checkpoint import check_checkpoint, load_checkpoint, load_model, read_header, save_checkpoint, save_model
from mnistnn.data import Dataset, Split
from mnistnn.errors import CheckpointError, OutputError, Stopped
from mnistnn.files import sha256_file
from mnistnn.network import Network
from mnistnn.optimizers import OptimizerSpec
from mnistnn.presets import preset
from mnistnn.recipe import Recipe
from mnistnn.registry import augmentation, optimizer
from mnistnn.schedules import OneCycle
from mnistnn.training import Trainer, TrainingSpec
from tests.mnistnn.nets import EVERYTHING, TINY

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def parts(sample: Dataset) -> tuple[Split, Split]:
    images, labels = sample.train_images, sample.train_labels
    return Split(images, labels, np.arange(130)), Split(images, labels, np.arange(130, 230))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    network = Network(EVERYTHING, seed=1)
    network.forward(IMAGES, train=True)  # so that running statistics are not those of the start
    save_model(tmp_path / "model.npz", network)
    return tmp_path / "model.npz"


def trainer_of(parts: tuple[Split, Split], seed: int = 3, name: str = "adam", epochs: int = 4) -> Trainer:
    training = TrainingSpec(
        epochs=epochs,
        batch_size=50,
        optimizer=optimizer.get(name)(),
        augment=(Translation(shift=2),),
        label_smoothing=0.1,
    )
    return Trainer(Network(TINY, seed=seed), training, *parts, seed=seed)


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Writes the file again after `change` had header and arrays."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays.pop("header").tobytes())
    change(header, arrays)
    text = json.dumps(header).encode()
    np.savez(path, header=np.frombuffer(text, np.uint8), **arrays)


# --- models


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    network = Network(EVERYTHING, seed=1)
    network.forward(IMAGES, train=True)
    digest = save_model(tmp_path / "m.npz", network, recipe=Recipe(EVERYTHING, TrainingSpec()), extra={"trial": 17})
    assert digest == sha256_file(tmp_path / "m.npz")
    loaded = load_model(tmp_path / "m.npz", batch_size=7)
    assert loaded.spec == EVERYTHING
    assert loaded.arena.params.tobytes() == network.arena.params.tobytes()
    assert loaded.arena.states.tobytes() == network.arena.states.tobytes()
    np.testing.assert_allclose(loaded.predict_proba(IMAGES), network.predict_proba(IMAGES), atol=1e-6)
    header = read_header(tmp_path / "m.npz")
    assert header["extra"] == {"trial": 17}
    assert TrainingSpec.from_dict(header["training"]) == TrainingSpec()


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = {save_model(tmp_path / f"{i}.npz", Network(TINY, seed=4)) for i in range(3)}
    assert len(digests) == 1


def test_arrays_are_named_by_their_layers(model: Path) -> None:
    with np.load(model, allow_pickle=False) as file:
        assert {"conv2d_1/weight", "conv2d_1/bias", "batch_norm_1/gamma", "batch_norm_2/running_var"} <= set(file.files)


def test_anybody_can_read_it_without_a_pickle(model: Path) -> None:
    with zipfile.ZipFile(model) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                np.lib.format.read_array(member, allow_pickle=False)
    with np.load(model, allow_pickle=False) as file:
        assert json.loads(file["header"].tobytes().decode())["kind"] == "model"


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be writable"):
        save_model(tmp_path / "file" / "m.npz", Network(TINY))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Changes a byte of the largest array: not all that a ZIP says besides is looked at."""
    with np.load(path) as file:
        largest = max((file[name] for name in file.files), key=lambda array: array.nbytes)
    data = bytearray(path.read_bytes())
    data[data.index(largest.tobytes())] ^= 0xFF
    path.write_bytes(bytes(data))


def as_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": 1}))


def with_pickle_inside(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["dense_1/weight"] = np.array([{"a": 1}], object)
    np.savez(path, allow_pickle=True, **arrays)


def as_bare_array(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    path.write_bytes(buffer.getvalue())


def without_header(path: Path) -> None:
    np.savez(path, weight=np.zeros(3))


def with_text_for_header(path: Path) -> None:
    np.savez(path, header=np.frombuffer(b"not JSON", np.uint8))


def compressed(path: Path) -> None:
    with np.load(path) as file:
        np.savez_compressed(path, **{name: file[name] for name in file.files})


def claiming_the_moon(path: Path) -> None:
    """An array whose header says 8 TB."""
    text = str({"descr": "<f8", "fortran_order": False, "shape": (10**12,)}).encode()
    text = text.ljust(118 - 1) + b"\n"
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("huge.npy", header)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        half,
        flip,
        as_pickle,
        with_pickle_inside,
        as_bare_array,
        without_header,
        with_text_for_header,
        compressed,
        claiming_the_moon,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("hello"),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: rewrite(path, lambda header, arrays: header.update(format=99)),
        lambda path: rewrite(path, lambda header, arrays: header.update(kind="checkpoint")),
        lambda path: rewrite(path, lambda header, arrays: header.pop("network")),
        lambda path: rewrite(path, lambda header, arrays: header.update(network=[])),
        lambda path: rewrite(path, lambda header, arrays: header.update(network={"layers": [{"type": "dens"}]})),
        lambda path: rewrite(path, lambda header, arrays: header.update(network={"layers": [{"type": "input"}]})),
        lambda path: rewrite(path, lambda header, arrays: header["network"]["layers"][0].update(shape="abc")),
        lambda path: rewrite(path, lambda header, arrays: header["network"]["layers"][0].update(shape=[28, "28", 1])),
        lambda path: rewrite(path, lambda header, arrays: arrays.pop("dense_1/weight")),
        lambda path: rewrite(path, lambda header, arrays: arrays.update(more=np.zeros(3))),
        lambda path: rewrite(path, lambda header, arrays: arrays.update({"dense_2/bias": np.zeros(10)})),  # float64
        lambda path: rewrite(path, lambda header, arrays: arrays.update({"dense_2/bias": np.zeros(9, np.float32)})),
        lambda path: rewrite(
            path, lambda header, arrays: arrays.update({"dense_2/bias": np.full(10, np.nan, np.float32)})
        ),
    ],
)
def test_what_is_no_whole_model_is_refused_in_one_line(model: Path, damage: Callable[[Path], Any]) -> None:
    damage(model)
    with pytest.raises(CheckpointError) as caught:
        load_model(model)
    assert "\n" not in str(caught.value)
    assert str(model) in str(caught.value)


# --- checkpoints


@pytest.mark.parametrize("name", optimizer.names())
def test_a_training_goes_on_as_if_it_had_never_stopped(tmp_path: Path, parts: tuple[Split, Split], name: str) -> None:
    whole = trainer_of(parts, name=name)
    list(whole.fit())

    first = trainer_of(parts, name=name)
    epochs = first.fit()
    next(epochs), next(epochs)
    save_checkpoint(tmp_path / "part.npz", first)

    second = trainer_of(parts, name=name, seed=99)  # whatever it began with, the checkpoint decides
    load_checkpoint(tmp_path / "part.npz", second)
    assert [metrics.epoch for metrics in second.history] == [1, 2]
    assert [metrics.epoch for metrics in second.fit()] == [3, 4]
    assert second.network.arena.params.tobytes() == whole.network.arena.params.tobytes()
    assert second.best_epoch == whole.best_epoch
    strip_times(whole)
    strip_times(second)
    assert save_checkpoint(tmp_path / "a.npz", second) == save_checkpoint(tmp_path / "b.npz", whole)


def strip_times(trainer: Trainer) -> None:
    trainer.history = [replace(metrics, seconds=1.0, images_per_s=1.0) for metrics in trainer.history]


def test_a_fused_net_with_norms_dropout_and_all_augmentations_goes_on_too(
    tmp_path: Path, parts: tuple[Split, Split]
) -> None:
    def trainer(seed: int) -> Trainer:
        row = tuple(augmentation.get(name)() for name in augmentation.names())
        training = TrainingSpec(epochs=3, batch_size=50, schedule=OneCycle(), augment=row)
        return Trainer(Network(EVERYTHING, batch_size=50, seed=seed), training, *parts, seed=seed)

    whole = trainer(3)
    list(whole.fit())
    first = trainer(3)
    next(first.fit())
    save_checkpoint(tmp_path / "part.npz", first)
    second = trainer(99)
    load_checkpoint(tmp_path / "part.npz", second)
    list(second.fit())
    assert {*whole.rngs} == {"shuffle", "augment", "dropout_1", "dropout_2"}
    strip_times(whole)
    strip_times(second)
    assert save_checkpoint(tmp_path / "a.npz", second) == save_checkpoint(tmp_path / "b.npz", whole)


def test_a_stop_within_an_epoch_costs_that_epoch_alone(tmp_path: Path, parts: tuple[Split, Split]) -> None:
    whole = trainer_of(parts)
    list(whole.fit())
    stopped = trainer_of(parts)
    epochs = stopped.fit(lambda: stopped.step == 7)  # in the third epoch of three steps each
    next(epochs), next(epochs)
    save_checkpoint(tmp_path / "c.npz", stopped)
    with pytest.raises(Stopped):
        next(epochs)
    resumed = trainer_of(parts)
    load_checkpoint(tmp_path / "c.npz", resumed)
    assert resumed.epoch == 2
    list(resumed.fit())
    assert resumed.network.arena.params.tobytes() == whole.network.arena.params.tobytes()


def test_the_best_epoch_survives(tmp_path: Path, parts: tuple[Split, Split]) -> None:
    trainer = trainer_of(parts)
    list(trainer.fit())
    save_checkpoint(tmp_path / "c.npz", trainer)
    resumed = trainer_of(parts, seed=5)
    load_checkpoint(tmp_path / "c.npz", resumed)
    trainer.restore_best()
    resumed.restore_best()
    assert resumed.network.arena.params.tobytes() == trainer.network.arena.params.tobytes()
    assert resumed.best_metrics == trainer.best_metrics


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        half,
        as_pickle,
        without_header,
        compressed,
        lambda path: rewrite(path, lambda header, arrays: header.pop("rngs")),
        lambda path: rewrite(path, lambda header, arrays: header["rngs"].pop("shuffle")),
        lambda path: rewrite(path, lambda header, arrays: header["rngs"].update(augment={})),
        lambda path: rewrite(path, lambda header, arrays: header["rngs"]["augment"].update(state=3)),
        lambda path: rewrite(path, lambda header, arrays: header["rngs"]["dropout_1"].update(bit_generator="MT19937")),
        lambda path: rewrite(path, lambda header, arrays: header["rngs"]["shuffle"]["state"].update(state=1 << 200)),
        lambda path: rewrite(
            path, lambda header, arrays: header["rngs"]["dropout_1"]["state"].update(state=[1 << 200])
        ),
        lambda path: rewrite(path, lambda header, arrays: header.update(history=3)),
        lambda path: rewrite(path, lambda header, arrays: header["history"][0].pop("epoch")),
        lambda path: rewrite(path, lambda header, arrays: header.update(epoch="two")),
        lambda path: rewrite(path, lambda header, arrays: header.update(epoch=3)),  # but a history of two
        lambda path: rewrite(path, lambda header, arrays: header.update(step=5)),  # but two epochs of three
        lambda path: rewrite(path, lambda header, arrays: header.update(step=float("inf"))),
        lambda path: rewrite(path, lambda header, arrays: header.update(best_epoch=9)),
        lambda path: rewrite(path, lambda header, arrays: arrays.pop("optimizer/mean_sum")),
        lambda path: rewrite(path, lambda header, arrays: arrays.pop("best/params")),
        lambda path: rewrite(path, lambda header, arrays: arrays.update(params=np.zeros(3, np.float32))),
        lambda path: rewrite(path, lambda header, arrays: header["training"].update(batch_size=51)),
        lambda path: rewrite(path, lambda header, arrays: header["network"]["layers"].pop()),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_training_alone(
    tmp_path: Path, parts: tuple[Split, Split], damage: Callable[[Path], Any]
) -> None:
    trainer = trainer_of(parts)
    epochs = trainer.fit()
    next(epochs), next(epochs)
    path = tmp_path / "c.npz"
    save_checkpoint(path, trainer)
    damage(path)
    fresh, untouched = trainer_of(parts, seed=8), trainer_of(parts, seed=8)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, fresh)
    assert "\n" not in str(caught.value)
    assert fresh.epoch == fresh.step == 0
    list(fresh.fit())
    list(untouched.fit())
    assert fresh.network.arena.params.tobytes() == untouched.network.arena.params.tobytes()


def test_a_model_is_no_checkpoint(model: Path, parts: tuple[Split, Split]) -> None:
    with pytest.raises(CheckpointError, match="must be a checkpoint, but is a model"):
        load_checkpoint(model, trainer_of(parts))


def test_a_checkpoint_may_go_on_in_a_longer_training(tmp_path: Path, parts: tuple[Split, Split]) -> None:
    path, short, longer = tmp_path / "c.npz", trainer_of(parts, epochs=2), trainer_of(parts, seed=9, epochs=4)
    list(short.fit())
    save_checkpoint(path, short)
    with pytest.raises(CheckpointError, match="same training"):
        load_checkpoint(path, longer)
    load_checkpoint(path, longer, any_plan=True)
    assert (longer.epoch, longer.spec.epochs) == (2, 4)
    short.replan(4)
    list(short.fit())
    list(longer.fit())
    np.testing.assert_array_equal(short.network.arena.params, longer.network.arena.params)
    with pytest.raises(CheckpointError, match="2 epochs of 1"):
        load_checkpoint(path, trainer_of(parts, epochs=1), any_plan=True)
    with pytest.raises(CheckpointError, match="same training"):  # all else must be the same
        load_checkpoint(path, trainer_of(parts, name="sgd", epochs=4), any_plan=True)


def test_a_checkpoint_before_the_first_epoch_works_too(tmp_path: Path, parts: tuple[Split, Split]) -> None:
    save_checkpoint(tmp_path / "c.npz", trainer_of(parts))
    resumed = trainer_of(parts, seed=8)
    load_checkpoint(tmp_path / "c.npz", resumed)
    whole = trainer_of(parts)
    list(resumed.fit())
    list(whole.fit())
    assert resumed.network.arena.params.tobytes() == whole.network.arena.params.tobytes()


def test_it_is_small(tmp_path: Path, sample: Dataset) -> None:
    """Weights, the best weights, and Adam's two vectors: four times the weights, and little else."""
    recipe = preset("mlp3")
    split = Split(sample.train_images, sample.train_labels, np.arange(100))
    trainer = Trainer(Network(recipe.network), recipe.training, split, split)
    next(trainer.fit())
    assert isinstance(recipe.training.optimizer, OptimizerSpec)
    save_checkpoint(tmp_path / "c.npz", trainer)
    assert (tmp_path / "c.npz").stat().st_size < 4 * trainer.network.arena.params.nbytes + 10_000


@pytest.mark.parametrize("name", ["params", "best/params", "optimizer/mean_sum", "states"])
def test_an_array_that_was_changed_is_seen_by_its_digest(tmp_path: Path, parts: tuple[Split, Split], name: str) -> None:
    """Not by the archive's own checksum, which is right again."""
    trainer = trainer_of(parts)
    next(trainer.fit())
    path = tmp_path / "c.npz"
    save_checkpoint(path, trainer)
    assert check_checkpoint(path)["epoch"] == 1

    def change(header: dict[str, Any], arrays: dict[str, Any]) -> None:
        if arrays[name].size:
            arrays[name][-1] += 1
        else:
            arrays[name] = np.zeros(1, np.float32)

    rewrite(path, change)
    fresh = trainer_of(parts, seed=8)
    for read in (lambda: check_checkpoint(path), lambda: load_checkpoint(path, fresh)):
        with pytest.raises(CheckpointError):
            read()
    assert fresh.epoch == 0


def test_a_checkpoint_from_before_there_were_digests_is_read(tmp_path: Path, parts: tuple[Split, Split]) -> None:
    trainer = trainer_of(parts)
    next(trainer.fit())
    path = tmp_path / "c.npz"
    save_checkpoint(path, trainer)
    rewrite(path, lambda header, arrays: header.pop("arrays_sha256"))
    fresh = trainer_of(parts, seed=8)
    load_checkpoint(path, fresh)
    assert fresh.network.arena.params.tobytes() == trainer.network.arena.params.tobytes()
    assert check_checkpoint(path)["epoch"] == 1


def test_a_model_that_would_not_fit_into_memory(tmp_path: Path, model: Path) -> None:
    layers = [{"type": "flatten"}, *({"type": "dense", "units": 4096} for _ in range(200))]
    rewrite(model, lambda header, arrays: header.update(network={"layers": layers}))
    with pytest.raises(CheckpointError, match="at most 100 layers, but got 201"):
        load_model(model)
