"""A clock that is set back in the middle: events keep their order, and the budget its seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.stress.projects import PROBES, StressProject
from tests.sweeps.workers.runs import wait_for

pytestmark = pytest.mark.slow

_BUDGET_S = 5.0
_HOUR_S = 3600


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library between processes and the system's clock, as `faketime` is one."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc), for a library that sets processes' clocks")
    built = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(PROBES / "clock.c"), "-o", str(built), "-ldl"], check=True)
    return built


def test_a_clock_that_is_set_back(tmp_path: Path, sample_dir: Path, library: Path, database: Path) -> None:
    project = StressProject(tmp_path / "p", sample_dir, trials=1000, epochs=20, database=database)
    clock = tmp_path / "shift"
    clock.write_text("0")
    project.environment |= {"LD_PRELOAD": str(library), "STRESS_CLOCK": str(clock)}
    options = ["--set", f"budget.time={_BUDGET_S:g}s"]
    with project.running(*options, workers=2) as process:
        wait_for(lambda: project.ended() >= 1)
        clock.write_text(str(-_HOUR_S))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert project.study().user_attrs["elapsed_s"] == pytest.approx(_BUDGET_S, abs=1.5)

    now_ms, seen_back = time.time_ns() // 1_000_000, False
    for path in project.paths.folder.rglob("events.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        times = [event["time_ms"] for event in events]
        assert times == sorted(times)
        seen_back |= times[0] < now_ms - _HOUR_S * 500
    assert seen_back  # the clock was set for those processes, and trials began after that
    rows = project.sql("SELECT status, end_time - start_time FROM runs")
    assert not [row for row in rows if row[0] == "RUNNING"]
    assert all(took is None or int(str(took)) >= 0 for _, took in rows)
    points = project.sql(
        "SELECT count(*) FROM metrics AS a JOIN metrics AS b ON a.run_uuid = b.run_uuid AND a.key = b.key"
        " AND a.step < b.step AND a.timestamp > b.timestamp"
    )
    assert points == [(0,)]

    _, err = project.run(*options)  # with the clock as it is
    assert "has used up its budget" in err
