"""A project with a real MLflow database for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.tracking import shipper, store
from tests.stores import give_database
from tests.sweeps.tracking.projects import Project


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipper, "_BACKOFF_S", (0.05, 0.5))


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Project:
    root = tmp_path / "a project"
    give_database(root, database)
    return Project(root, store.resolve_uri(None, root))
