"""Tracking stores for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from sweeps.paths import Paths

__all__ = ["give_database"]


def give_database(root: Path, database: Path) -> None:
    """Puts a copy of a tracking database where the project under `root` has its own."""
    mlruns = Paths(root).mlruns
    mlruns.mkdir(parents=True, exist_ok=True)
    shutil.copy(database, mlruns / "mlflow.db")
