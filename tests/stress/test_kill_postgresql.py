"""The same kills with the stores of a cluster: PostgreSQL, an MLflow server, and `worker`s that join."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnistnn.data import Dataset
from tests.stress.killing import kills_wanted, sweep_under_fire
from tests.stress.projects import StressProject
from tests.stress.servers import PostgreSQL, mlflow_server

pytestmark = [pytest.mark.kill, pytest.mark.slow]


def test_kills_lose_nothing_on_postgresql(
    tmp_path: Path, sample_dir: Path, sample: Dataset, database_server: PostgreSQL
) -> None:
    with mlflow_server(tmp_path / "server", database_server.database("mlflow")) as tracking:
        project = StressProject(
            tmp_path / "killed",
            sample_dir,
            storage=database_server.database("optuna"),
            tracking_uri=tracking.uri,
            trials=6,
            epochs=8,
        )
        done, prepared = project.on_study("init"), "prepared"
        assert prepared in "".join(done.communicate(timeout=120))
        kills = kills_wanted(6)
        verbs = [("worker", "--heartbeat", "2s")] * 2
        toll = sweep_under_fire(project, sample, kills=kills, seed=5, verbs=verbs)
    found = toll.found
    assert found.faults == []
    assert toll.killed == kills
    assert (found.lost_epochs, found.duplicated_runs, found.orphans) == (0, 0, 0)
    assert found.equal_replays == found.replays == found.trials
