"""Servers that the stress tests share."""

from __future__ import annotations

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
def tracking_server(tmp_path: Path) -> Iterator[MlflowServer]:
    """An MLflow server on an SQLite database, for one test."""
    with mlflow_server(tmp_path / "server", f"sqlite:///{tmp_path}/server/mlflow.db") as server:
        yield server
