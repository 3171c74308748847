"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweeps.command import Home


@pytest.fixture
def home(tmp_path: Path, sample_dir: Path, database: Path) -> Home:
    """A new project's folder."""
    return Home.make(tmp_path / "home", sample_dir, database)


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, sample_dir: Path) -> Home:
    """A project in which the study `smoke` has run, with its ensemble. Not to be changed."""
    home = Home.make(tmp_path_factory.mktemp("swept") / "home", sample_dir)
    for verb in ("run", "ensemble"):
        said = home.process(verb, "smoke")
        assert said.code == 0, said.err
    return home
