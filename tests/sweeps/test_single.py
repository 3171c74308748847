from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.checkpoint import load_model, read_header
from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, Diverged
from mnistnn.files import sha256_file
from mnistnn.metrics import cross_entropy
from sweeps.errors import ConfigError, TrackingError
from sweeps.single.kept import FILES, Trained
from sweeps.single.models import find_model
from sweeps.single.predict import predict_files
from sweeps.single.train import train_net
from sweeps.tracking import store
from sweeps.tracking.events import TrialLog
from tests.sweeps.command import ROOT, Home


def train(home: Home, sample: Dataset, preset: str = "mlp3", **chosen: Any) -> Trained:
    changes = {"epochs": chosen.pop("epochs", 2), "batch_size": 100, "learning_rate": chosen.pop("learning_rate", None)}
    lines: list[str] = []
    return train_net(
        preset, root=home.root, dataset=lambda: sample, changes=changes, progress=False, say=lines.append, **chosen
    )


def test_keeps_its_files_and_its_best_epoch(home: Home, sample: Dataset) -> None:
    # At this rate the last epochs are not the best ones.
    trained = train(home, sample, epochs=6, learning_rate=0.05)
    folder = home.root / trained.folder
    assert folder == home.root / "mlruns" / "train" / "mlp3-1"
    assert all((folder / name).stat().st_size for name in FILES)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sha256_file(folder / "weights.npz") == trained.weights_sha256
    with open(folder / "history.csv") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 6
    assert trained.best_epoch == 1 + losses.index(min(losses)) < 6
    images, labels = sample.split(0)[1].take()
    probs = load_model(folder / "weights.npz").predict_proba(images)
    assert cross_entropy(labels, probs) == pytest.approx(min(losses), rel=1e-4)
    assert trained.val_loss == min(losses)
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["training"]["epochs"] == 6
    assert recipe["training"]["optimizer"]["learning_rate"] == 0.05


def test_is_tracked_under_its_name_and_message(home: Home, sample: Dataset) -> None:
    trained = train(home, sample, name="first", message="How good is it?")
    assert trained.run_id is not None
    client = store.client(store.resolve_uri(None, home.root))
    run = client.get_run(trained.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "sweeps-train"
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"] == "How good is it?"
    assert run.data.params["preset"] == "mlp3"
    assert run.data.params["optimizer"] == "adam"
    assert float(run.data.params["learning_rate"]) == 1e-3
    assert run.data.metrics["best_val_accuracy"] == pytest.approx(trained.val_accuracy, abs=1e-5)
    assert len(client.get_metric_history(trained.run_id, "val_loss")) == 2
    assert {each.path for each in client.list_artifacts(trained.run_id)} == set(FILES)
    assert {each.dataset.digest for each in run.inputs.dataset_inputs} == {sample.digest[:16]}


def test_a_name_is_used_once(home: Home, sample: Dataset) -> None:
    names = [train(home, sample, epochs=1).name for _ in range(2)]
    assert names == ["mlp3-1", "mlp3-2"]
    train(home, sample, epochs=1, name="mine")
    before = home.files()
    with pytest.raises(ConfigError, match="'mine' is in .* already"):
        train(home, sample, epochs=1, name="mine")
    assert home.files() == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a\0", "-a", "ä", "x" * 101])
def test_a_name_is_never_a_path(home: Home, sample: Dataset, name: str) -> None:
    with pytest.raises(ConfigError, match="--name must be"):
        train(home, sample, name=name)
    assert not (home.root / "mlruns" / "train").exists()


def test_same_seed_same_bytes(home: Home, sample: Dataset) -> None:
    first, again, other = (train(home, sample, "small", epochs=1, seed=seed) for seed in (3, 3, 4))
    assert first.val_loss == again.val_loss != other.val_loss
    nets = [load_model(home.root / trained.folder / "weights.npz") for trained in (first, again)]
    assert nets[0].arena.params.tobytes() == nets[1].arena.params.tobytes()


def test_begins_with_the_weights_of_another_net(home: Home, sample: Dataset) -> None:
    first = train(home, sample, name="first", epochs=3)
    # A rate of almost nothing shows where it began.
    second = train(home, sample, start="first", epochs=1, learning_rate=1e-6, seed=9)
    assert second.val_loss == pytest.approx(first.val_loss, rel=1e-2)
    by_path = train(home, sample, start=str(home.root / first.folder / "weights.npz"), epochs=1, learning_rate=1e-6)
    assert by_path.val_loss == pytest.approx(first.val_loss, rel=1e-2)
    assert read_header(home.root / second.folder / "weights.npz")["extra"]["from"] == "first"
    with pytest.raises(CheckpointError, match="same network"):
        train(home, sample, "small", start="first")


def test_goes_on_without_having_seen_what_it_is_validated_on(
    swept: Home, sample: Dataset, tmp_path: Path, database: Path
) -> None:
    """The study `smoke` parts the images by its own seed, 1; who begins with one of its nets must do so too."""
    home = Home.make(tmp_path / "home", swept.data, database)
    weights = swept.root / "studies" / "smoke" / "trials" / "00000" / "weights.npz"  # the baseline mlp3
    trained = train(home, sample, start=str(weights), epochs=1, name="warm")
    assert read_header(home.root / trained.folder / "weights.npz")["extra"]["split_seed"] == 1
    again = train(home, sample, start="warm", epochs=1)
    assert read_header(home.root / again.folder / "weights.npz")["extra"]["split_seed"] == 1


def test_opens_the_test_images_only_when_asked(home: Home, sample: Dataset) -> None:
    ledger = home.root / "mlruns" / "test_openings.jsonl"
    assert train(home, sample, epochs=1).test_accuracy is None
    assert not ledger.exists()
    trained = train(home, sample, epochs=2, test=True)
    assert trained.test_openings == 1
    assert 0.5 < trained.test_accuracy < 1
    assert "opened once so far" in trained.text()
    assert train(home, sample, epochs=1, test=True).test_openings == 2
    assert [json.loads(line)["purpose"] for line in ledger.read_text().splitlines()] == [
        "train --test mlp3-2",
        "train --test mlp3-3",
    ]


def test_what_could_not_be_tracked_is_delivered_by_the_next_training(
    home: Home, sample: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sweeps.tracking.store.prepare", lambda *_: (_ for _ in ()).throw(TrackingError("it is away.")))
        patch.setattr("sweeps.tracking.shipper.ship_folder.__defaults__", (None, 0.1))
        assert train(home, sample, name="first", epochs=1).run_id is None
    (home.root / "mlruns" / "train" / "killed").mkdir()
    with TrialLog(home.root / "mlruns" / "train" / "killed") as log:
        log.start("killed", {}, {})
    assert train(home, sample, name="second", epochs=1).run_id is not None
    client = store.client(store.resolve_uri(None, home.root))
    runs = client.search_runs([client.get_experiment_by_name("sweeps-train").experiment_id])
    assert {(run.info.run_name, run.info.status) for run in runs} == {("first", "FINISHED"), ("second", "FINISHED")}


def test_a_diverged_training_is_tracked_as_failed(home: Home, sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnistnn.training import Trainer

    def diverge(self: Trainer, *_: object) -> Any:
        raise Diverged("the loss is nan in epoch 1, step 1")
        yield

    monkeypatch.setattr(Trainer, "fit", diverge)
    with pytest.raises(Diverged):
        train(home, sample, name="wild")
    client = store.client(store.resolve_uri(None, home.root))
    experiment = client.get_experiment_by_name("sweeps-train")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "nan" in run.data.tags["reason"]
    assert not (home.root / "mlruns" / "train" / "wild" / "weights.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_says_so_to_mlflow(home: Home, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sweeps", "train", "conv2", "--epochs", "500", "--name", "long"]
    process = subprocess.Popen(command, cwd=ROOT, env=home.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    history = home.root / "mlruns" / "train" / "long" / "events.jsonl"
    deadline = time.monotonic() + 60
    while not (history.exists() and b'"epoch"' in history.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert out == b""
    assert json.loads(history.read_text().splitlines()[-1])["state"] == "FAIL"
    assert (history.parent / "shipped.json").exists()


@pytest.fixture
def trained_home(home: Home, sample: Dataset) -> Home:
    train(home, sample, name="older", epochs=1)
    train(home, sample, name="newer", epochs=1)
    weights = home.root / "mlruns" / "train" / "older" / "weights.npz"
    os.utime(weights, (1, 1))
    return home


def test_predict_says_one_line_for_each_image(trained_home: Home, tmp_path: Path, sample: Dataset) -> None:
    from PIL import Image

    images = sample.train_images[:3]
    np.save(tmp_path / "three.npy", images)
    Image.fromarray(np.asarray(images[0])).save(tmp_path / "one.png")
    said = trained_home("predict", tmp_path / "one.png", tmp_path / "three.npy")
    assert said.code == 0
    assert said.err == "model: net newer\n"
    lines = [line.split("  ") for line in said.out.splitlines()]
    places = [tmp_path / "one.png", *(f"{tmp_path / 'three.npy'}[{index}]" for index in (1, 2, 3))]
    assert [line[0] for line in lines] == [str(place) for place in places]
    assert lines[0][1:] == lines[1][1:]
    probs = load_model(trained_home.root / "mlruns" / "train" / "newer" / "weights.npz").predict_proba(images)
    assert [int(line[1]) for line in lines[1:]] == probs.argmax(axis=1).tolist()
    assert [float(line[2]) for line in lines[1:]] == pytest.approx(probs.max(axis=1), abs=1e-4)
    answers = trained_home("predict", tmp_path / "three.npy", "--json", "--quiet")
    assert answers.err == ""
    assert [answer["index"] for answer in answers.json] == [1, 2, 3]


def test_predict_finds_a_model_by_whatever_it_is_called(
    trained_home: Home, swept: Home, tmp_path: Path, sample: Dataset
) -> None:
    root = trained_home.root
    weights = root / "mlruns" / "train" / "older" / "weights.npz"
    assert find_model(None, root).title == "net newer"
    assert find_model("older", root).title == "net older"
    assert find_model(str(weights), root).title == f"net {weights}"
    shutil.copytree(swept.root / "studies" / "smoke", root / "studies" / "smoke")
    assert "study smoke" in find_model("smoke", root).title
    # The study `default` answers by default, once it has an ensemble.
    shutil.copytree(swept.root / "studies" / "smoke", root / "studies" / "default")
    assert find_model(None, root).title.startswith("ensemble of")
    np.save(tmp_path / "some.npy", sample.train_images[:20])
    lines: list[str] = []
    answers = predict_files([tmp_path / "some.npy"], None, root=root, echo=lines.append)
    assert len(answers) == 20
    assert all(0.1 <= answer.probability <= 1 for answer in answers)
    assert "default" in lines[0]


def test_a_study_without_an_ensemble_is_told_to_build_one(trained_home: Home) -> None:
    said = trained_home("predict", ROOT / "tests/data/mnist/t10k-images-idx3-ubyte.gz", "--model", "contest")
    assert said.code == 2
    assert "`ensemble contest`" in said.err
