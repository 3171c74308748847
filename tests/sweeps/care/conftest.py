"""Trials to train again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps import provenance
from tests.sweeps.care.lab import Lab, Tiny


@pytest.fixture(scope="session")
def tiny(sample: Dataset) -> Any:
    return Tiny(sample)


@pytest.fixture(scope="session")
def finished_lab(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Lab:
    """A study with one finished trial. Not to be changed."""
    lab = Lab(tmp_path_factory.mktemp("finished"), tiny)
    tags = {**provenance.versions(), "git_commit": "a" * 40, "git_dirty": "false"}
    assert lab.run(tags=tags) == TrialState.COMPLETE
    return lab


@pytest.fixture
def lab(finished_lab: Lab, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A copy of it, to do with as one likes."""
    monkeypatch.setattr(provenance, "commit", lambda: "a" * 40)
    root = tmp_path / "lab"
    shutil.copytree(finished_lab.root, root)
    return Lab(root, tiny)
