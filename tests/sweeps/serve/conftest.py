from __future__ import annotations

import pytest
from werkzeug.test import Client

from mnistnn.data import Dataset
from sweeps.paths import StudyPaths
from sweeps.serve import App, Champion
from tests.sweeps.serve.study import make_champion


@pytest.fixture(scope="session")
def champion(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> StudyPaths:
    """A study with an ensemble. Not to be changed."""
    return make_champion(tmp_path_factory.mktemp("champion"), sample)


@pytest.fixture(scope="session")
def app(champion: StudyPaths) -> App:
    return App(Champion.load(champion))


@pytest.fixture
def client(app: App) -> Client:
    return Client(app)
