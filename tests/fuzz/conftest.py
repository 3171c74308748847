"""What the fuzz tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """Imports what readers import when they need it: it takes more memory than they do."""
    from sweeps.tracking import store

    store.quiet()
    import mlflow.entities
    import pandas  # noqa: F401
    from PIL import JpegImagePlugin, PngImagePlugin  # noqa: F401

    assert mlflow.entities is not None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that all inputs of a test are written into."""
    return tmp_path
