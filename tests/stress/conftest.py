"""Servers that the stress tests share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stress.servers import MlflowServer, PostgreSQL, mlflow_server, postgresql


@pytest.fixture(scope="session")
def database_server() -> Iterator[PostgreSQL]:
    """A PostgreSQL server for all tests of this session."""
    with postgresql() as server:
        yield server


@pytest.fixture
def tracking_server(tmp_path: Path, database: Path) -> Iterator[MlflowServer]:
    """An MLflow server on an SQLite database, for one test."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as server:
        yield server
