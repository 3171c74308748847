"""What all tests share: the small sample of real MNIST that the repo carries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mnistnn.data import Dataset, find_dataset

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
