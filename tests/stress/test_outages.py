"""Stores that are away while a study runs: the sweep goes on, and all that it recorded arrives, in order and once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnistnn.data import Dataset
from tests.stress.audit import audit
from tests.stress.projects import StressProject
from tests.stress.servers import MlflowServer
from tests.sweeps.workers.runs import wait_for

pytestmark = pytest.mark.slow

_LONG = os.environ.get("SOAK") == "1"
#: MLflow waits 20 s for a locked database before it gives up.
_TRACKING_LOCKED_S = 35.0 if _LONG else 23.0
#: Optuna's storage is given 60 s by SQLite.
_TRIALS_LOCKED_S = 70.0 if _LONG else 5.0

_HOLDER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""


def lock(database: Path, seconds: float) -> subprocess.Popen[str]:
    """Locks an SQLite database by another process; returns once it is."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(database), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    return holder


def runs_in(database: Path) -> int:
    """Returns how many runs a tracking database has."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as open_one,
    ):
        return int(open_one.execute("SELECT count(*) FROM runs").fetchone()[0])
    return 0


@pytest.fixture(scope="module", autouse=True)
def locked(
    tmp_path_factory: pytest.TempPathFactory, sample_dir: Path, database: Path
) -> Iterator[tuple[StressProject, subprocess.Popen[str]]]:
    """A sweep whose tracking database is locked for long: it runs beside the other tests of this file."""
    root = tmp_path_factory.mktemp("locked") / "p"
    project = StressProject(root, sample_dir, trials=6, epochs=6, database=database)
    with project.running() as process:
        wait_for(lambda: runs_in(project.mlflow_db) >= 2)
        with lock(project.mlflow_db, _TRACKING_LOCKED_S):
            yield project, process


def test_a_tracking_server_that_stops_and_starts(
    tmp_path: Path, sample_dir: Path, sample: Dataset, tracking_server: MlflowServer
) -> None:
    project = StressProject(tmp_path / "p", sample_dir, tracking_uri=tracking_server.uri, trials=10, epochs=60)
    with project.running("--set", "pruner.type=none", workers=2) as process:
        wait_for(lambda: list(project.paths.trials.glob("*/shipped.json")))  # in the middle of the first deliveries
        tracking_server.stop()
        before = project.ended()
        assert before <= 8
        wait_for(lambda: project.ended() >= before + 2)  # the sweep goes on
        tracking_server.launch()
        _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert err.count("is away") == 1
    assert "Events are kept in" in err
    assert "is back, and has all events." in err
    assert "Traceback" not in err
    found = audit(project, sample, replay=False)
    assert found.faults == []
    assert (found.trials, found.runs) == (10, 11)


def test_a_locked_database_of_trials_is_waited_for(
    tmp_path: Path, sample_dir: Path, sample: Dataset, database: Path
) -> None:
    trials = tmp_path / "trials.db"
    stores = {"storage": f"sqlite:///{trials}", "database": database}
    project = StressProject(tmp_path / "p", sample_dir, trials=4, epochs=4, **stores)
    with project.running(workers=2) as process:
        wait_for(lambda: project.ended() >= 1)
        with lock(trials, _TRIALS_LOCKED_S) as holder:
            holder.wait()
        began = time.monotonic()
        _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert "died" not in err
    assert time.monotonic() - began < 60.0
    found = audit(project, sample, replay=False)
    assert found.faults == []
    assert (found.trials, found.attempts) == (4, 4)


def test_a_locked_tracking_database(locked: tuple[StressProject, subprocess.Popen[str]], sample: Dataset) -> None:
    project, process = locked
    wait_for(lambda: project.ended() == 6)  # all the same
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.count("is away") == 1  # it was so long that MLflow gave up, and not only waited
    assert "database is locked" in err
    assert "is back, and has all events." in err
    found = audit(project, sample, replay=False)
    assert found.faults == []
    assert (found.trials, found.runs) == (6, 7)
