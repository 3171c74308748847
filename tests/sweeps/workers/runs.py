"""`sweeps run` in a process of its own, in a project of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from sweeps.paths import Paths
from sweeps.study.storage import load_study, origin_of
from tests.stores import give_database

REPO = Path(__file__).resolve().parents[3]

STUDY = """
[study]
seed = 5
baselines = ["mlp3"]
[budget]
trials = {trials}
epochs = {epochs}
[sampler]
startup_trials = 3
[pruner]
startup_trials = 2
[fixed]
kernel = 3
batch_size = 50
[search]
blocks = {{ low = 0, high = 1 }}
filters = [2, 4, 8]
dropout = {{ low = 0.0, high = 0.3 }}
[search.optimizer.adam]
learning_rate = {{ low = 1e-3, high = 1e-2 }}
[search.optimizer.sgd]
learning_rate = {{ low = 1e-2, high = 1e-1 }}
"""


class Project:
    """A folder with a study, and the runs of it.

    Args:
        root: the folder, which is made.
        data: the data set's.
        trials: the budget.
        epochs: of one trial.
        database: an empty tracking database to begin with; without it the first run makes one, which takes seconds.
    """

    def __init__(
        self, root: Path, data: Path, *, trials: int = 5, epochs: int = 6, database: Path | None = None
    ) -> None:
        self.root, self._data = root, data
        (root / "studies").mkdir(parents=True)
        self.file = root / "studies" / "live.toml"
        self.file.write_text(STUDY.format(trials=trials, epochs=epochs))
        self.paths = Paths(root).study("live")
        if database is not None:
            give_database(root, database)

    def start(self, *options: str, workers: int = 1, verb: str = "run") -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SWEEPS_", "MLFLOW_"))}
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps", verb, "live", "--workers", str(workers), "--data-dir", str(self._data)]
            + list(options),
            cwd=self.root,
            env=environment | {"PYTHONPATH": str(REPO), "SWEEPS_PICTURES": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, workers: int = 1, code: int = 0, verb: str = "run") -> tuple[str, str]:
        """Runs to the end; returns what was said on stdout and stderr."""
        process = self.start(*options, workers=workers, verb=verb)
        out, err = process.communicate(timeout=240)
        assert process.returncode == code, (process.returncode, out, err)
        return out, err

    def study(self, storage: str | None = None) -> optuna.Study:
        return load_study("live", storage, self.paths)

    def statuses(self) -> set[str]:
        """Returns the statuses of all runs in the project's own MLflow."""
        with contextlib.closing(sqlite3.connect(self.root / "mlruns" / "mlflow.db")) as database:
            return {status for (status,) in database.execute("SELECT status FROM runs")}

    def results(self, storage: str | None = None) -> dict[int, tuple[Any, ...]]:
        """Returns by trial how it ended, its value, parameters, curve and weights."""
        return {
            origin_of(trial): (
                trial.state.name,
                trial.value,
                trial.params,
                trial.intermediate_values,
                trial.user_attrs.get("weights_sha256"),
            )
            for trial in self.study(storage).trials
            if not trial.user_attrs.get("requeued")
        }

    def events(self, number: int) -> list[str]:
        """Returns the kinds of a trial's events."""
        import json

        path = self.paths.trial(number) / "events.jsonl"
        return [json.loads(line)["kind"] for line in path.read_text().splitlines()] if path.exists() else []


def worker_pids(parent: int) -> list[int]:
    """Returns the worker processes of a run."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"sweeps.workers.worker" in (folder / "cmdline").read_bytes():
                pids.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return pids


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
