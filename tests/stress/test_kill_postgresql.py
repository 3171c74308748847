"""The same kills with the stores of a cluster: Optuna's trials and MLflow's runs in PostgreSQL, MLflow as a server."""

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
        kills = kills_wanted(6)
        toll = sweep_under_fire(project, sample, kills=kills, seed=5)
    found = toll.found
    assert found.faults == []
    assert sum(toll.kills.values()) == kills
    assert (found.lost_epochs, found.duplicated_runs, found.orphans) == (0, 0, 0)
    assert found.equal_replays == found.replays == found.complete >= 1
