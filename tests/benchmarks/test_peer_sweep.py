"""The peer's sweep: that it searches the same, trains as well, and leaves what is compared."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.nets import ROOT
from benchmarks.peer_project import PeerPaths
from benchmarks.peer_sweep import check
from benchmarks.sweep_curve import read_sweep
from mnistnn.augment.translation import Translation
from mnistnn.data import Dataset
from mnistnn.errors import InputError
from mnistnn.metrics import cross_entropy
from mnistnn.network import Network
from mnistnn.presets import preset
from mnistnn.recipe import Recipe
from mnistnn.schedules import Constant, Cosine, OneCycle
from mnistnn.training import Trainer, TrainingSpec
from sweeps.config import load_study
from tests.sweeps.small import small_config

STUDY = """
[study]
name = "tiny"
seed = 5
baselines = ["mlp3", "conv2"]

[budget]
trials = 6
epochs = 2

[pruner]
startup_trials = 1
warmup_epochs = 0

[limits]
macs = 100_000

[fixed]
scaling = "standard"

[fixed.schedule.one_cycle]
warmup = 0.3

[search]
blocks = [0, 1]
filters = [2, 64]
dense_units = [0, 8]
dropout = { low = 0.0, high = 0.3 }
batch_size = [50]

[search.optimizer.adam]
learning_rate = { low = 2e-3, high = 8e-3 }

[search.augment.translation]
shift = { low = 0, high = 2 }
"""


@pytest.fixture(scope="module")
def torch() -> Any:
    module = pytest.importorskip("torch", reason="needs PyTorch (make setup-bench)")
    module.set_num_threads(1)
    return module


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "tiny.toml"
    file.write_text(STUDY)
    return file


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "peer_sweep.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def swept(torch: Any, study: Path, sample_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> PeerPaths:
    """A whole sweep of the sample by two processes, to its budget in trials."""
    folder = tmp_path_factory.mktemp("peer") / "swept"
    done = call(study, "--folder", folder, "--data-dir", sample_dir, "--workers", 2)
    assert done.returncode == 0, done.stderr
    return PeerPaths(folder)


def trials_of(paths: PeerPaths) -> list[Any]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(paths.journal)))
    return optuna.load_study(study_name="tiny", storage=storage).get_trials()


@pytest.mark.slow
def test_the_sweep_keeps_to_the_study(swept: PeerPaths, study: Path) -> None:
    from sweeps.study.space import Space

    space = Space(load_study(study, root=ROOT))
    trials = trials_of(swept)
    assert [trial.user_attrs["preset"] for trial in trials[:2]] == ["mlp3", "conv2"]
    assert {trial.state.name for trial in trials[:2]} == {"COMPLETE"}  # whatever the limits and the pruner say
    ended = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert 6 <= len(ended) <= 7  # two processes may both be at their last
    for trial in trials[2:]:
        reason = space.impossible(space.values(trial.params))
        assert (trial.state.name == "FAIL") == (reason is not None) == ("label" not in trial.user_attrs)


@pytest.mark.slow
def test_what_is_tracked_and_kept_goes_with_the_trials(swept: PeerPaths, torch: Any, sample: Dataset) -> None:
    from benchmarks.peer_training import Images
    from benchmarks.torch_nets import torch_images, torch_network

    ended = [trial for trial in trials_of(swept) if "label" in trial.user_attrs]
    with sqlite3.connect(swept.database) as database:
        runs = database.execute("SELECT name, status, run_uuid FROM runs ORDER BY name").fetchall()
        metrics = dict(database.execute("SELECT run_uuid, count(*) FROM metrics WHERE key = 'val_loss' GROUP BY 1"))
        params = dict(database.execute("SELECT run_uuid, value FROM params WHERE key = 'batch_size'"))
    assert [name for name, *_ in runs] == [f"#{each.number:03d} {each.user_attrs['label']}" for each in ended]
    for (_, status, run), trial in zip(runs, ended, strict=True):
        assert status == {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}[trial.state.name]
        assert metrics[run] == len(trial.intermediate_values)
        assert params[run] in ("50", "100")
        weights = swept.artifacts / run / "artifacts" / "weights.pt"
        assert weights.exists() == (trial.state.name == "COMPLETE")
    images = Images(sample, seed=5)
    spec = preset("mlp3").network
    net = torch_network(spec).eval()
    net.load_state_dict(torch.load(swept.artifacts / runs[0][2] / "artifacts" / "weights.pt"))
    with np.load(swept.val_probs(0)) as file, torch.inference_mode():
        expected = net(torch_images(spec, images.val_images)).softmax(1)
        np.testing.assert_allclose(file["probs"], expected, atol=1e-5)
        np.testing.assert_array_equal(file["labels"], images.val_labels)


@pytest.mark.slow
def test_the_record_is_read_from_it(swept: PeerPaths, sample: Dataset) -> None:
    began = swept.journal.stat().st_mtime - 1000
    records, finished, labels = read_sweep(swept.journal, "tiny", swept.val_probs, began)
    trials = {trial.number: trial for trial in trials_of(swept)}
    np.testing.assert_array_equal(np.sort(labels), np.sort(sample.split(5)[1].take()[1]))
    assert {record.number for record in records} == {n for n, trial in trials.items() if "label" in trial.user_attrs}
    for record in records:
        assert record.ended_s is not None
        assert record.preset == trials[record.number].user_attrs.get("preset")
        assert 0 < record.begun_s < record.ended_s <= 1001
        if record.state == "COMPLETE":
            assert record.val_loss == pytest.approx(trials[record.number].value, rel=1e-5)
        else:
            assert record.val_loss is None
    assert len(finished) == sum(record.state == "COMPLETE" for record in records)


@pytest.mark.slow
def test_no_trial_begins_after_the_budget_and_those_that_run_end(torch: Any, sample_dir: Path, tmp_path: Path) -> None:
    file, paths, began = tmp_path / "tiny.toml", PeerPaths(tmp_path / "peer"), time.time()
    file.write_text(STUDY.replace("trials = 6", 'time = "15s"'))
    done = call(file, "--folder", paths.folder, "--data-dir", sample_dir)
    assert done.returncode == 0, done.stderr
    records, *_ = read_sweep(paths.journal, "tiny", paths.val_probs, began)
    assert all(record.begun_s <= 16 and record.ended_s is not None for record in records)  # few, or none if it is slow


@pytest.mark.slow
def test_a_folder_that_is_there_is_left_alone(torch: Any, study: Path, tmp_path: Path) -> None:
    done = call(study, "--folder", tmp_path)
    assert done.returncode == 2
    assert "must not be there yet" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_the_sweeps_failure(
    torch: Any, study: Path, sample_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "cosine.toml"
    file.write_text(STUDY.replace("[fixed.schedule.one_cycle]\nwarmup = 0.3", "[fixed.schedule.cosine]\nend = 0.1"))
    done = call(file, "--folder", tmp_path / "peer", "--data-dir", sample_dir, "--workers", 1)
    assert done.returncode == 1
    assert "no counterpart in PyTorch is written down for Cosine" in done.stderr


def test_studies_that_the_peer_cannot_do_are_refused() -> None:
    check(small_config())
    check(small_config(sampler__type="random"))
    with pytest.raises(InputError, match="tpe or random"):
        check(small_config(sampler__type="qmc"))
    for changes in ({"study__validation_shift": 1}, {"study__metric": "val_calibrated_loss"}):
        with pytest.raises(InputError, match="val_loss or val_accuracy alone"):
            check(small_config(**changes))


# The training


def tried(name: str = "report", **changes: Any) -> Recipe:
    recipe = preset(name)
    known: dict[str, Any] = {"epochs": 3, "batch_size": 50, "schedule": OneCycle()}
    return replace(recipe, training=replace(recipe.training, **(known | changes)))


@pytest.mark.parametrize("name", ["mlp3", "small"])
def test_both_learn_as_much_from_one_recipe(torch: Any, sample: Dataset, name: str) -> None:
    """Over some seeds, which both draw by themselves."""
    from benchmarks.peer_training import Images, make_net, train

    recipe = tried(name, epochs=4, augment=(Translation(shift=1),))
    images, (training, validation) = Images(sample, 3), sample.split(3)
    ours, peers = [], []
    for seed in range(4):
        network = Network(recipe.network, batch_size=50, seed=seed)
        ours.append(list(Trainer(network, recipe.training, training, validation, seed=seed).fit())[-1].val_loss)
        net = make_net(recipe.network, np.random.SeedSequence(seed))
        peers.append(list(train(net, recipe, images))[-1].metrics["val_loss"])
    assert np.mean(peers) == pytest.approx(np.mean(ours), rel=0.2)


def test_an_epoch_says_what_its_net_predicts(torch: Any, sample: Dataset) -> None:
    from benchmarks.peer_training import Images, make_net, train
    from benchmarks.torch_nets import torch_images

    recipe, images = tried(epochs=2), Images(sample, 3)
    net = make_net(recipe.network, np.random.SeedSequence(1))
    for epoch, progress in enumerate(train(net, recipe, images), 1):
        assert progress.epoch == epoch
        probs, labels = progress.probs.numpy(), images.val_labels.numpy()
        assert progress.metrics["val_loss"] == pytest.approx(cross_entropy(labels, probs), rel=1e-5)
        assert progress.metrics["val_accuracy"] == pytest.approx(np.mean(probs.argmax(1) == labels))
    assert epoch == 2
    assert any(isinstance(layer, torch.nn.Dropout) and layer.p > 0 for layer in net)
    with torch.inference_mode():
        expected = net.eval()(torch_images(recipe.network, images.val_images)).softmax(1)
    np.testing.assert_allclose(progress.probs, expected, atol=1e-5)
    again = make_net(recipe.network, np.random.SeedSequence(1))
    assert [each.metrics["val_loss"] for each in train(again, recipe, images)][-1] == progress.metrics["val_loss"]


def test_the_learning_rate_is_the_schedules(torch: Any) -> None:
    from benchmarks.peer_training import make_scheduler

    training = tried(schedule=OneCycle(warmup=0.25, start_divisor=10.0, end_divisor=100.0)).training
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make_scheduler(optimizer, training, 8), []
    for _ in range(3 * 8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    factors = [training.schedule.factor(step, 3 * 8) for step in range(3 * 8)]
    np.testing.assert_allclose(rates, np.array(factors) * training.optimizer.learning_rate, rtol=1e-9)
    assert make_scheduler(optimizer, replace(training, schedule=Constant()), 8) is None
    with pytest.raises(ValueError, match="no counterpart"):
        make_scheduler(optimizer, replace(training, schedule=Cosine()), 8)


@pytest.mark.parametrize("shift", [0, 2])
def test_batches_are_every_image_once_each_moved_by_itself(torch: Any, sample: Dataset, shift: int) -> None:
    from benchmarks.peer_training import Images

    images = Images(sample, 3)
    recipe = tried(augment=(Translation(shift=shift),), batch_size=64)
    where: dict[bytes, tuple[int, int, int]] = {}
    for number, image in enumerate(images.train_images):
        padded = np.pad(image, 2 * shift)
        for down in range(-shift, shift + 1):
            for right in range(-shift, shift + 1):
                rows, columns = (slice(2 * shift - move, 2 * shift - move + 28) for move in (down, right))
                where[padded[rows, columns].tobytes()] = number, down, right
    numbers, moves = [], []
    for pixels, labels in images.batches(recipe.network, recipe.training):
        assert pixels.is_contiguous(memory_format=torch.channels_last)
        for image, label in zip((pixels[:, 0] * 255).round().numpy().astype(np.uint8), labels, strict=True):
            number, *move = where[image.tobytes()]
            numbers.append(number)
            moves.append(tuple(move))
            assert images.train_labels[number] == label
    assert sorted(numbers) == list(range(len(images.train_images)))
    assert numbers != sorted(numbers)
    assert len(set(moves)) == (2 * shift + 1) ** 2


def test_another_augmentation_is_refused(torch: Any, sample: Dataset) -> None:
    from benchmarks.peer_training import Images

    training: TrainingSpec = tried(augment=(Translation(shift=1), Translation(shift=2))).training
    with pytest.raises(ValueError, match="no counterpart"):
        next(Images(sample, 3).batches(preset("report").network, training))


def test_the_default_study_is_one_that_the_peer_can_do() -> None:
    check(load_study("default", root=ROOT))
