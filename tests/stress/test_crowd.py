"""More workers than cores: slow is not dead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnistnn.data import Dataset
from tests.stress.audit import audit
from tests.stress.projects import StressProject

pytestmark = pytest.mark.slow


@pytest.fixture
def two_cores() -> Iterator[None]:
    """Lets this process and those that it starts have two cores."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs to bind processes to cores, which this system cannot")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:2])
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.usefixtures("two_cores")
def test_eight_workers_on_two_cores(tmp_path: Path, sample_dir: Path, sample: Dataset, database: Path) -> None:
    project = StressProject(tmp_path / "p", sample_dir, trials=12, epochs=3, database=database)
    _, err = project.run(workers=8)
    assert "died" not in err
    found = audit(project, sample)
    assert found.faults == []
    assert (found.trials, found.attempts, found.resumed, found.runs) == (12, 12, 0, 13)
    assert found.equal_replays == 12
