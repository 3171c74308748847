"""Projects that are put under stress: `sweeps run` in processes of its own, and what it leaves in its stores."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from sweeps.study.storage import load_study
from tests.sweeps.workers.runs import REPO, Project

__all__ = ["PROBES", "StressProject"]

#: Folders with a `sitecustomize.py`, which Python imports at its start: what a process shall measure, or meet.
PROBES = Path(__file__).parent / "probes"


class StressProject(Project):
    """A project whose runs may have another storage, another tracking store and another environment.

    Args:
        root: its folder, which is made.
        data: the data set's.
        study: the study's file, if it shall not be that of `Project`.
        storage: an Optuna URL; None for the study's own journal.
        tracking_uri: MLflow's store; None for the project's own database.
        trials: the budget.
        epochs: of one trial.
        database: an empty tracking database to begin with; None lets the first run make it.
    """

    def __init__(
        self,
        root: Path,
        data: Path,
        *,
        study: str | None = None,
        storage: str | None = None,
        tracking_uri: str | None = None,
        trials: int = 5,
        epochs: int = 6,
        database: Path | None = None,
    ) -> None:
        super().__init__(root, data, trials=trials, epochs=epochs, database=database)
        if study is not None:
            self.file.write_text(study.format(trials=trials, epochs=epochs))
        self.storage, self.tracking_uri, self.trials = storage, tracking_uri, trials
        self.environment: dict[str, str] = {}

    @property
    def stores(self) -> list[str]:
        """The options that name the stores."""
        named = {"--storage": self.storage, "--tracking-uri": self.tracking_uri}
        return [text for name, value in named.items() if value is not None for text in (name, value)]

    def start(self, *options: str, workers: int = 1, verb: str = "run") -> subprocess.Popen[str]:
        return self.on_study(verb, "--workers", str(workers), *options)

    def on_study(self, verb: str, *options: str) -> subprocess.Popen[str]:
        """Starts a verb on the study with its data and its stores."""
        return self.call(verb, "live", "--data-dir", str(self._data), *self.stores, *options)

    def call(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts a verb."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SWEEPS_", "MLFLOW_"))}
        more = {"PYTHONPATH": str(REPO), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "SWEEPS_PICTURES": "0"}
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps", *arguments],
            cwd=self.root,
            env=kept | more | self.environment | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def at_work(self, verb: str, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Starts a verb on the study, and sees that it is gone at the end of the block."""
        process = self.on_study(verb, *options)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def running(self, *options: str, workers: int = 1) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Starts a run, and sees that it is gone at the end of the block."""
        return self.at_work("run", "--workers", str(workers), *options)

    def with_probe(self, name: str, **environment: str) -> None:
        """Lets every process of this project import a probe before anything else."""
        self.environment |= {"PYTHONPATH": os.pathsep.join((str(PROBES / name), str(REPO)))} | environment

    def study(self) -> optuna.Study:
        return load_study("live", self.storage, self.paths)

    def read(self) -> tuple[list[FrozenTrial], dict[str, Any]]:
        """Returns all attempts, and what the study remembers; no connection to a database stays open."""
        study = self.study()
        try:
            return study.trials, study.user_attrs
        finally:
            if (backend := getattr(study._storage, "_backend", None)) is not None and hasattr(backend, "engine"):
                study._storage.remove_session()
                backend.engine.dispose()

    def ended(self) -> int:
        """Returns how many trials have recorded their end."""
        return sum(b'"kind":"end"' in path.read_bytes() for path in self.paths.trials.glob("*/events.jsonl"))

    @property
    def mlflow_db(self) -> Path:
        """The project's own tracking database."""
        return self.root / "mlruns" / "mlflow.db"

    def sql(self, query: str, *values: object) -> list[tuple[object, ...]]:
        """Asks the project's own tracking database."""
        with sqlite3.connect(self.mlflow_db) as database:
            return list(database.execute(query, values))
