"""A project with a tracking store, as the tests of the tracking use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.paths import Paths
from sweeps.tracking import store
from sweeps.tracking.events import TrialLog
from sweeps.tracking.shipper import Shipper

STUDY = "digits"
EXPERIMENT = store.experiment_name(STUDY)


@dataclass
class Project:
    """A project's folder with a tracking store, and what a test does with them."""

    root: Path
    uri: str
    said: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return Paths(self.root).study(STUDY).folder

    def log(self, number: int) -> TrialLog:
        return TrialLog(Paths(self.root).study(STUDY).trial(number))

    def parent(self) -> TrialLog:
        return TrialLog(Paths(self.root).study(STUDY).parent)

    def shipper(self, uri: str | None = None, **options: Any) -> Shipper:
        options = {"poll_s": 0.02, "warn": self.said.append, "note": "What this is."} | options
        return Shipper(uri or self.uri, self.root, EXPERIMENT, self.folder, **options)

    def runs(self, uri: str | None = None, view: int | None = None) -> list[Any]:
        """Returns the experiment's runs: the parent, then its children by name."""
        from mlflow.entities import ViewType

        client = store.client(uri or self.uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id], run_view_type=view or ViewType.ACTIVE_ONLY)
        return sorted(runs, key=lambda run: ("mlflow.parentRunId" in run.data.tags, run.info.run_name))

    def history(self, run_id: str, metric: str, uri: str | None = None) -> list[tuple[int, float]]:
        history = store.client(uri or self.uri).get_metric_history(run_id, metric)
        return [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)]
