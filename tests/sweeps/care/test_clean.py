from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, InputError
from mnistnn.files import sha256_file
from sweeps.care.clean import Cleaned, clean_study
from sweeps.care.clean.removal import Removal
from sweeps.config import StudyConfig
from sweeps.ensemble.members import Member, load_network
from sweeps.ensemble.predictions import load_val_probs
from sweeps.errors import StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.locks import FileLock
from sweeps.study.storage import bind_folder, load_study
from sweeps.tracking.cleaned import cleaned_files
from sweeps.tracking.inspect import open_runs
from sweeps.tracking.shipper import Shipper
from tests.sweeps.care.archives import die, killed, make_small, tree
from tests.sweeps.care.patient import Patient
from tests.sweeps.command import Home
from tests.sweeps.small import make_bench, run_next, small_config

HEAVY = ["final.npz", "val_probs.npz", "weights.npz"]
AWAY = "http://127.0.0.1:9"  # where no MLflow answers


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """A project in which four trials of the study `small` ended. Not to be changed."""
    root = tmp_path_factory.mktemp("trained")
    config, study = make_small(root, sample, budget__epochs=1, budget__trials=4)
    bench = make_bench(config, root, sample)
    assert [run_next(study, bench) for _ in range(4)] == [TrialState.COMPLETE] * 4
    bind_folder(study, bench.paths)
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "small")
    return tmp_path / "small"


def paths_of(root: Path) -> StudyPaths:
    return Paths(root).study("small")


def config() -> StudyConfig:
    return small_config(budget__epochs=1, budget__trials=4)


def clean(root: Path, keep: int, **changes: Any) -> Cleaned:
    return clean_study(config(), root=root, keep=keep, **({"tracking_uri": AWAY} | changes))


def ranked(root: Path) -> list[int]:
    """Returns the trials, the best first."""
    trials = [trial for trial in load_study("small", None, paths_of(root)).trials if trial.value is not None]
    return [trial.number for trial in sorted(trials, key=lambda trial: (trial.value, trial.number))]


def heavy(root: Path, number: int) -> list[str]:
    return sorted(path.name for path in paths_of(root).trial(number).glob("*.npz"))


def bytes_of(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*.npz"))


def test_the_best_keep_everything(root: Path) -> None:
    best, second, *others = ranked(root)
    before, digests = bytes_of(root), {n: sha256_file(paths_of(root).trial(n) / "weights.npz") for n in others}
    cleaned = clean(root, 2)
    assert heavy(root, best) == heavy(root, second) == HEAVY
    freed = sum(count.bytes for count in cleaned.freed.values())
    assert freed == before - bytes_of(root)
    assert bytes_of(root) == sum(count.bytes for kind, count in cleaned.left.items())
    assert cleaned.freed["weights"].files == cleaned.freed["finals"].files == 2
    assert cleaned.trials == tuple(sorted(others))
    for number in others:
        folder = paths_of(root).trial(number)
        assert heavy(root, number) == []
        assert {path.name for path in folder.iterdir()} > {"recipe.json", "history.csv", "events.jsonl", "cleaned.json"}
        record = cleaned_files(folder)
        assert sorted(record) == HEAVY
        assert record["weights.npz"]["sha256"] == digests[number]
        last = json.loads((folder / "events.jsonl").read_bytes().splitlines()[-1])
        assert (last["kind"], last["tags"]) == ("tags", {"cleaned": ", ".join(HEAVY)})
    assert "the tracking server must answer" in " ".join(cleaned.notes)
    text = cleaned.text()
    assert "the best 2 keep everything" in text
    assert f"`replay small N --keep` makes a trial whole again: #00{min(others)}, #00{max(others)}" in text
    kept = tree(paths_of(root).folder)
    again = clean(root, 2)
    assert not again.freed
    assert not again.trials
    assert tree(paths_of(root).folder) == kept


def test_a_dry_run_says_the_same_and_changes_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    dry = clean(root, 1, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    wet = clean(root, 1)
    assert (dry.freed, dry.left, dry.trials) == (wet.freed, wet.left, wet.trials)
    assert "would free" in dry.text()


def test_what_is_at_work_is_left_alone_and_what_it_extends(root: Path) -> None:
    study = load_study("small", None, paths_of(root))
    *_, third, worst = ranked(root)
    study.enqueue_trial({}, user_attrs={"extends": {"trial": worst, "epochs": [1], "plans": [1], "total": 3}})
    for name in ("checkpoint.npz", "final.npz", "weights.npz"):  # as if it had come that far
        paths_of(root).trial(4).mkdir(exist_ok=True)
        (paths_of(root).trial(4) / name).write_bytes(b"x")
    held = FileLock(paths_of(root).trial(third) / "lock")
    held.acquire()  # by the worker that is just ending it
    cleaned = clean(root, 0)
    assert (cleaned.at_work, cleaned.busy, cleaned.referred) == (1, 1, 1)
    assert "1 that wait or run are left alone" in cleaned.text()
    assert heavy(root, 4) == ["checkpoint.npz", "final.npz", "weights.npz"]
    assert heavy(root, worst) == heavy(root, third) == HEAVY
    held.release()
    assert clean(root, 0).trials == (third,)


def test_what_a_kill_left_in_a_trial_goes(root: Path) -> None:
    folder = paths_of(root).trial(ranked(root)[0])
    for name in ("checkpoint.npz", "checkpoint.previous.npz", ".weights.npz.abc.tmp"):
        (folder / name).write_bytes(b"12345")
    cleaned = clean(root, 4)
    assert not cleaned.trials
    assert {kind: (count.files, count.bytes) for kind, count in cleaned.freed.items()} == {
        "checkpoints": (2, 10),
        "temporaries": (1, 5),
    }
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "check"))) == []
    assert not (folder / "cleaned.json").exists()


def test_linked_files_free_nothing(root: Path) -> None:
    worst = ranked(root)[-1]
    linked = paths_of(root).trial(worst) / "weights.npz"
    size = linked.stat().st_size
    os.link(linked, root / "of-a-fork.npz")
    dry, cleaned = clean(root, 3, dry_run=True), clean(root, 3)
    for each in (dry, cleaned):
        assert (each.freed["weights"].files, each.freed["weights"].bytes, each.freed["weights"].shared_bytes) == (
            1,
            0,
            size,
        )
    assert "kB more are free when other studies let go of them (hard links)." in cleaned.text()


def test_both_links_of_a_file_free_it_once(tmp_path: Path) -> None:
    for dry_run in (True, False):
        (tmp_path / "a").write_bytes(b"123")
        os.link(tmp_path / "a", tmp_path / "b")
        removal = Removal(dry_run)
        removal.remove(tmp_path / "a", "x")
        removal.remove(tmp_path / "b", "x")
        removal.remove(tmp_path / "c", "x")
        count = removal.freed["x"]
        assert (count.files, count.bytes, count.shared_bytes) == (2, 3, 3)
        for name in "ab":
            (tmp_path / name).unlink(missing_ok=True)


@pytest.mark.kill
def test_a_kill_does_no_harm(root: Path) -> None:
    worst = ranked(root)[-1]
    before = bytes_of(root)

    def call(after: int) -> None:
        whole, left = Removal.remove, iter(range(after))
        Removal.remove = lambda *given: whole(*given) if next(left, None) is not None else die()  # type: ignore[method-assign]
        clean(root, 3)

    killed(lambda: call(0))  # told, and nothing done
    assert heavy(root, worst) == HEAVY
    assert sorted(cleaned_files(paths_of(root).trial(worst))) == HEAVY
    killed(lambda: call(1))
    assert len(heavy(root, worst)) == 2
    cleaned = clean(root, 3)
    assert heavy(root, worst) == []
    assert sorted(cleaned_files(paths_of(root).trial(worst))) == HEAVY
    assert bytes_of(root) < before
    assert cleaned.trials == (worst,)
    events = (paths_of(root).trial(worst) / "events.jsonl").read_bytes()
    assert events.count(b'"cleaned"') == 1


def test_an_ensemble_says_what_was_cleaned(root: Path, sample: Dataset) -> None:
    worst = ranked(root)[-1]
    clean(root, 1)
    member = Member(worst, "net", "0" * 64, 0.5)
    rule = rf"must have its {{}}, but was cleaned; `replay small {worst} --keep` makes it again\.$"
    with pytest.raises(CheckpointError, match=rule.format("val_probs.npz")):
        load_val_probs(member, paths_of(root), np.zeros(3, np.int64))
    with pytest.raises(CheckpointError, match=rule.format("weights.npz")):
        load_network(member, paths_of(root))


def test_what_stands_in_the_way(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    for name, rule in (("files.lock", "another one does already"), ("ensemble/build.lock", "in the making")):
        lock = FileLock(paths_of(root).folder / name)
        lock.acquire()
        with pytest.raises(StudyError, match=rule):
            clean(root, 1)
        lock.release()
    (root / "a.csv.manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.csv\.manifest\.json"):
        clean(root, 1)
    (root / "a.csv.manifest.json").unlink()
    (paths_of(root).ensemble / "ensemble.json").write_text("{")
    with pytest.raises(CheckpointError, match="build the ensemble again"):
        clean(root, 1)
    (paths_of(root).ensemble / "ensemble.json").unlink()
    assert tree(root) == before
    with pytest.raises(StudyError, match="has no trials yet"):
        clean_study(config(), root=tmp_path / "empty", keep=1)


def test_a_metric_that_is_to_grow(sample: Dataset, tmp_path: Path) -> None:
    changed = {"budget__epochs": 1, "study__metric": "val_accuracy", "study__direction": "maximize"}
    known, study = make_small(tmp_path, sample, **changed)
    for value in (0.7, 0.9, 0.8):
        trial = study.ask()
        paths_of(tmp_path).trial(trial.number).mkdir(parents=True)
        (paths_of(tmp_path).trial(trial.number) / "weights.npz").write_bytes(b"x")
        study.tell(trial, value)
    clean_study(known, root=tmp_path, keep=2, tracking_uri=AWAY)
    assert [number for number in range(3) if heavy(tmp_path, number)] == [1, 2]


# With MLflow.


@pytest.fixture
def patient(swept: Home, tmp_path: Path) -> Patient:
    return Patient.copy(swept, tmp_path / "swept")


@pytest.mark.slow
def test_copies_in_mlflow_members_and_submissions(patient: Patient, database: Path) -> None:
    home, paths = patient.home, patient.paths
    record = json.loads((paths.ensemble / "ensemble.json").read_text())
    members = [each["member"]["number"] for each in record["members"]]
    complete = [n for n in range(4) if (paths.trial(n) / "weights.npz").exists()]  # two workers may prune one
    copies = {n: [patient.artifact(n, name) for name in HEAVY[1:]] for n in complete}
    assert all(path.is_file() for each in copies.values() for path in each)
    said = home("clean", "smoke", "--keep", 0, "--json", "--tracking-uri", AWAY)
    assert said.code == 0, said.err
    assert said.json["trials"] == [0, 1, 2, 3]  # the members lost their last states
    assert said.json["referred"] == len(members) == 2
    assert "wait for the next `clean`" in said.json["notes"][1]
    assert all(path.is_file() for each in copies.values() for path in each)
    said = home("clean", "smoke", "--keep", 0, "--json")
    assert list(said.json["freed"]) == ["artifacts"]
    assert said.json["freed"]["artifacts"]["files"] == 2 * (len(complete) - len(members))
    assert said.json["left"]["artifacts"]["files"] == 4
    for number in complete:
        assert heavy_of(patient, number) == (HEAVY[1:] if number in members else [])
        assert all(path.exists() == (number in members) for path in copies[number])
        tags = patient.mlflow().get_run(patient.run_id(number)).data.tags
        assert tags["cleaned"] == ("final.npz" if number in members else ", ".join(HEAVY))
    assert home("doctor", "smoke").code == 0
    said = home("ensemble", "smoke", "--top", len(complete))
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "must have its val_probs.npz, but was cleaned; `replay smoke " in said.err

    assert home("submit", "smoke").code == 0
    said = home("ensemble", "smoke", "--top", 1)  # another one is the study's now, and the champion
    assert said.code == 0
    assert len(list(paths.ensemble.glob("[0-9a-f]*/ensemble.json"))) == 2
    said = home("clean", "smoke", "--keep", 0, "--old-ensembles", "--json")
    assert "weights" not in said.json["freed"]  # the old one was submitted
    manifest = home.root / "submission.csv.manifest.json"
    manifest.unlink()
    said = home("clean", "smoke", "--keep", 0, "--json")
    assert "weights" not in said.json["freed"]  # the old one is there
    said = home("clean", "smoke", "--keep", 0, "--old-ensembles", "--json")
    assert said.json["freed"]["weights"]["files"] == 1
    assert said.json["freed"]["ensembles"]["files"] == 12
    assert len(list(paths.ensemble.glob("[0-9a-f]*/ensemble.json"))) == 1
    assert not list(paths.ensemble.glob(".*"))
    assert home("submit", "smoke").code == 0

    # Another store gets all runs, and nobody misses what was cleaned.
    uri, lines = f"sqlite:///{home.root}/other/mlflow.db", list[str]()
    shutil.copytree(database.parent, home.root / "other")
    assert Shipper(uri, home.root, "sweeps-smoke", paths.folder, warn=lines.append).drain() == 0
    assert lines == []
    found = open_runs(uri, "sweeps-smoke")
    assert found is not None
    assert len(list(found.runs())) == 6


def heavy_of(patient: Patient, number: int) -> list[str]:
    return sorted(path.name for path in patient.folder(number).glob("*.npz"))


def test_optuna_is_asked_for_nothing(root: Path) -> None:
    before = paths_of(root).journal.read_bytes()
    clean(root, 1)
    assert paths_of(root).journal.read_bytes() == before
    assert isinstance(load_study("small", None, paths_of(root)), optuna.Study)
