from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget
from sweeps.study.claims import Claim, claim
from sweeps.study.locks import FileLock, is_held
from sweeps.study.storage import load_study, open_storage, open_study
from sweeps.tracking.events import TrialLog
from sweeps.views.study_view import StudyView
from sweeps.views.trial_status import trial_status
from sweeps.views.watch import watch
from tests.sweeps.command import ROOT, Home
from tests.sweeps.small import make_bench, make_study, paths_of, run_next, small_config
from tests.sweeps.views.terminal import terminal

FILE = """
[budget]
trials = 5
epochs = 2
[search]
filters = [2, 4]
optimizer.adam.learning_rate = [0.001, 0.01]
"""


@dataclass(frozen=True)
class Running:
    """A study with a trial that ended and one that this process is at; two baselines wait."""

    config: StudyConfig
    root: Path
    study: optuna.Study
    paths: StudyPaths
    claimed: Claim
    log: TrialLog

    def view(self) -> StudyView:
        return StudyView(load_study("small", None, self.paths, read_only=True), self.paths)


@pytest.fixture
def running(tmp_path: Path, sample: Dataset) -> Iterator[Running]:
    config = small_config(study__baselines=["mlp3", "report", "small"], budget__trials=5, study__name="small")
    study = make_study(config, tmp_path, sample)
    assert run_next(study, make_bench(config, tmp_path, sample)) == TrialState.COMPLETE
    study.set_user_attr("elapsed_s", 40.0)
    paths = paths_of(config, tmp_path)
    claimed = claim(study, paths, Budget(5))
    assert claimed is not None
    claimed.trial.set_user_attr("label", "conv 8 k3")
    claimed.trial.set_user_attr("epoch_s", 30.0)
    with TrialLog(paths.trial(1)) as log:
        log.start("#001 conv 8 k3 adam 1e-3", {"filters": 8, "learning_rate": 0.001}, {})
        log.epoch(1, {"val_accuracy": 0.91, "val_loss": float("nan"), "images_per_s": 900.0})
        yield Running(config, tmp_path, study, paths, claimed, log)
    claimed.lock.release()


def test_a_running_study(running: Running) -> None:
    keeper = FileLock(running.paths.lock)
    assert keeper.acquire()
    keeper.note("4711\n")
    now = running.view().look()
    known = json.loads(json.dumps(now.to_dict()))
    assert known["run"]["pid"] == 4711
    assert known["counts"] == {"complete": 1, "pruned": 0, "failed": 0, "running": 1, "waiting": 1}
    assert known["budget"] | {"left_s": 0} == {
        "share": 0.2, "elapsed_s": 40.0, "time_s": None, "finished": 1, "trials": 5, "left_s": 0,
    }  # fmt: skip
    assert known["budget"]["left_s"] == 160.0
    assert known["best"]["trial"] == 0
    (worker,) = known["workers"]
    assert worker["left_s"] == pytest.approx(30.0, abs=3.0)
    assert {name: worker[name] for name in ("trial", "epoch", "epochs", "val_accuracy", "pid", "where")} == {
        "trial": 1, "epoch": 1, "epochs": 2, "val_accuracy": 0.91, "pid": os.getpid(), "where": "here",
    }  # fmt: skip
    assert known["queue"] == [{"trial": 2, "from": "baseline small", "epoch": 0}]
    assert known["undelivered"] > 5
    shown = now.text()
    assert shown.startswith("study    small: run by process 4711 since ")
    assert f"#001  1/2 epochs  91.00 %  900 images/s  {worker['left_s']:.0f} s left  conv 8 k3 · process" in shown
    keeper.release()
    assert "no `run` on this machine, but workers" in running.view().look().text()


@pytest.mark.parametrize("width", [30, 47, 80])
def test_no_line_is_longer_than_the_window(running: Running, width: int) -> None:
    for shown in (
        running.view().look().text(width),
        trial_status(running.study, running.paths, 0).text(width),
        trial_status(running.study, running.paths, 1).text(width),
    ):
        assert max(map(len, shown.splitlines())) <= width


def test_a_worker_that_died(running: Running) -> None:
    running.claimed.lock.release()
    now = running.view().look()
    assert not now.is_at_work
    assert now.to_dict()["workers"][0]["where"] == "dead"
    assert "nobody is at work on it" in now.text()
    assert "its worker died · conv 8 k3" in now.text()
    assert "its worker died" in trial_status(running.study, running.paths, 1).text()


def test_a_trial_that_runs(running: Running) -> None:
    running.log.stop("asked to stop")
    running.log.start("", {}, {})
    known = trial_status(running.study, running.paths, 1).to_dict()
    assert known["name"] == "#001 conv 8 k3 adam 1e-3"
    assert (known["state"], known["from"]) == ("RUNNING", "baseline report")
    assert known["params"] == {"filters": 8, "learning_rate": 0.001}
    assert [(each["what"], each["epoch"], each["why"]) for each in known["attempts"]] == [
        ("started", 0, None), ("stopped", 1, "asked to stop"), ("resumed", 1, None),
    ]  # fmt: skip
    assert known["curve"][0]["epoch"] == 1
    assert known["worker"]["pid"] == os.getpid()
    assert (known["run_id"], known["undelivered"]) == (None, 4)
    assert set(known["files"]) == {"events.jsonl", "lock"}


def test_a_trial_that_ended_or_waits(running: Running) -> None:
    ended = trial_status(running.study, running.paths, 0)
    assert [epoch["epoch"] for epoch in ended.curve] == [1, 2]
    assert ended.to_dict()["results"]["epochs_run"] == 2
    assert "weights.npz" in ended.text()
    assert not ended.is_at_work
    waits = trial_status(running.study, running.paths, 2)
    assert waits.state == "WAITING"
    assert waits.params
    with pytest.raises(StudyError, match="has 0 to 2 and no 9"):
        trial_status(running.study, running.paths, 9)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_nothing_is_written(running: Running) -> None:
    before = files(running.root)
    running.view().look().text()
    trial_status(running.study, running.paths, 1).text()
    assert files(running.root) == before


def test_a_database_is_only_read(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(study__baselines=["mlp3"])
    paths, url = paths_of(config, tmp_path), f"sqlite:///{tmp_path}/my study.db"
    with pytest.raises(StudyError, match="must have been run before"):
        load_study("small", url, paths, read_only=True)
    assert files(tmp_path) == {}  # no database was made
    open_study(config, open_storage(url, paths), sample.digest)
    before = files(tmp_path)
    study = load_study("small", url, paths, read_only=True)
    assert StudyView(study, paths).look().to_dict()["counts"]["waiting"] == 1
    assert files(tmp_path) == before
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    with engine.connect() as connection, pytest.raises(OperationalError, match="readonly"):
        connection.execute(text("DELETE FROM trials"))


def test_a_lock_is_seen_without_being_taken(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    assert not is_held(lock.path)
    assert not lock.path.exists()
    lock.acquire()
    assert is_held(lock.path)
    lock.release()
    assert not is_held(lock.path)
    assert lock.acquire()
    lock.release()


@dataclass
class Changing:
    """Something that changes three times."""

    looks: int = 0

    def __call__(self) -> Changing:
        self.looks += 1
        return Changing(self.looks)

    @property
    def is_at_work(self) -> bool:
        return self.looks < 3

    def text(self, width: int | None = None) -> str:
        return f"look {self.looks}\nof {width}"

    def to_dict(self) -> dict[str, object]:
        return {}


def test_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with terminal(40) as seen:
        monkeypatch.setattr(sys, "stdout", seen.stream)
        watch(Changing(), print)
        assert seen.lines == ["look 3", "of 39"]
        assert "look 2" in seen.received


def test_watching_into_a_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    watch(Changing(), print)
    assert capsys.readouterr().out.split("\n")[::2] == ["look 1", "look 2", "look 3", ""]


def test_the_verb(running: Running, sample_dir: Path) -> None:
    home = Home(running.root, sample_dir)
    (running.root / "studies" / "small.toml").write_text(FILE)
    assert home("status", "small").out.startswith("study    small: ")
    assert home("status", "small", 1, "--json").json["trial"] == 1
    assert home("status", "small", 7).code == 2
    said = home("status", "small", "--watch", "--json")
    assert said.code == 2
    assert "must not stand beside --watch" in said.err
    (running.root / "studies" / "other.toml").write_text(FILE)
    said = home("status", "other")
    assert (said.code, "must have been run before" in said.err) == (2, True)
    with contextlib.suppress(FileNotFoundError):
        assert not list((running.root / "studies" / "other").iterdir())


def test_it_imports_neither_mlflow_nor_pandas(running: Running, sample_dir: Path) -> None:
    (running.root / "studies" / "small.toml").write_text(FILE)
    code = (
        "import sys; from sweeps.cli import main\ntry: main(['status', 'small'])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    environment = Home(running.root, sample_dir).environment
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    )
    assert not {"mlflow", "pandas", "matplotlib"} & set(done.stderr.split())
