"""A swept project to be damaged, and what tests want to know of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from sweeps.paths import Paths, StudyPaths
from sweeps.study.storage import load_study
from sweeps.tracking import store
from sweeps.tracking.cursor import run_id_of
from sweeps.tracking.events import EVENTS
from sweeps.tracking.inspect import open_runs
from sweeps.tracking.place import relocate
from tests.sweeps.command import Home, Said

NAME = "smoke"


@dataclass(frozen=True)
class Patient:
    """A copy of the project in which the study `smoke` has run."""

    home: Home

    @classmethod
    def copy(cls, swept: Home, root: Path) -> Patient:
        shutil.copytree(swept.root, root)
        relocate(root / "mlruns" / "mlflow.db", swept.root / "mlruns" / "artifacts", root / "mlruns" / "artifacts")
        return cls(Home(root, swept.data))

    @property
    def paths(self) -> StudyPaths:
        return Paths(self.home.root).study(NAME)

    @property
    def uri(self) -> str:
        return store.resolve_uri(None, self.home.root)

    def doctor(self, *arguments: str) -> Said:
        return self.home("doctor", NAME, *arguments)

    def found(self, *arguments: str) -> list[tuple[str, str, str]]:
        """Returns check, object and status of all findings."""
        said = self.doctor("--json", *arguments)
        return [(each["check"], each["object"], each["status"]) for each in said.json["findings"]]

    def study(self) -> optuna.Study:
        return load_study(NAME, None, self.paths)

    def add_attempt(self, like: int, state: TrialState, origin: int | None = None, **user_attrs: Any) -> None:
        """Adds an attempt with the parameters of a trial, as one that began under its own number or under `origin`."""
        study = self.study()
        known = study.trials[like]
        attrs = {"label": known.user_attrs["label"]} | ({} if origin is None else {"origin": origin}) | user_attrs
        study._storage.create_new_trial(
            study._study_id,
            template_trial=create_trial(
                state=state,
                params=known.params,
                distributions=known.distributions,
                user_attrs=attrs,
                system_attrs={"fixed_params": known.params},
                value=1.0 if state == TrialState.COMPLETE else None,
            ),
        )

    def folder(self, number: int) -> Path:
        return self.paths.trial(number)

    def lines(self, number: int) -> list[bytes]:
        return (self.folder(number) / EVENTS).read_bytes().splitlines(keepends=True)

    def mlflow(self) -> Any:
        return store.client(self.uri)

    def run_id(self, number: int) -> str:
        known = run_id_of(self.folder(number))
        assert known is not None
        return known

    def artifact(self, number: int, name: str) -> Path:
        runs = self.home.root / "mlruns" / "artifacts" / f"sweeps-{NAME}"
        return runs / self.run_id(number) / "artifacts" / name

    def told(self) -> dict[str, Any]:
        """Returns all that MLflow shows of the study: of each run its state, params, results and curves."""
        found = open_runs(self.uri, f"sweeps-{NAME}")
        assert found is not None
        return {run.key: self._shown(run.run_id) for run in found.runs() if not run.is_deleted}

    def _shown(self, run_id: str) -> Any:
        client = self.mlflow()
        run = client.get_run(run_id)
        curves = {
            name: [
                (point.step, point.timestamp, repr(point.value)) for point in client.get_metric_history(run_id, name)
            ]
            for name in run.data.metrics
        }
        tags = {name: value for name, value in run.data.tags.items() if name not in ("mlflow.note.content",)}
        return run.info.run_id, run.info.status, run.info.run_name, run.data.params, tags, curves


def forget_run(database: Path, run_id: str) -> None:
    """Takes a run out of the database as `mlflow gc` does, with all that belongs to it."""
    import sqlite3

    with closing(sqlite3.connect(database)) as connection:
        for table in ("tags", "params", "metrics", "latest_metrics", "runs"):
            connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))
        connection.commit()


def flip(path: Path, at: float = 0.5) -> None:
    """Changes one byte of a file."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0xFF
    path.write_bytes(data)


def epochs_of(lines: list[bytes]) -> Iterator[int]:
    for line in lines:
        event = json.loads(line)
        if event["kind"] == "epoch":
            yield event["step"]
