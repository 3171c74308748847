"""What all tests share: the small sample of real MNIST that the repo carries, and a tracking database without runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnistnn.data import Dataset, find_dataset
from sweeps.paths import Paths
from sweeps.tracking import store

# Where several processes share the tests, each is told the size of pytest's own terminal: those that tests open have
# sizes of their own.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def sample_dir() -> Path:
    """The folder of the sample: 1,800 training and 500 test images in four IDX.gz files. Not to be written into."""
    return Path(__file__).parent / "data" / "mnist"


@pytest.fixture(scope="session")
def sample(sample_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The sample as a data set."""
    return find_dataset(sample_dir, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without experiments, to be copied, which MLflow takes seconds to make.

    Processes that share the tests share it. Not to be changed.
    """
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "database"
    path = Paths(root).mlruns / "mlflow.db"
    if not path.exists():  # it gets its name when it is whole, and of two that make it the second finds it made
        store.prepare(store.resolve_uri(None, root), root)
    return path
