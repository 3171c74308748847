"""Kills at random moments, of workers and of the run itself; `SOAK_KILLS=100` makes it a long one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from tests.stress.killing import KILLS, sweep_under_fire
from tests.stress.projects import StressProject
from tests.sweeps.workers.runs import Project, is_alive, kill, wait_for, worker_pids

pytestmark = [pytest.mark.kill, pytest.mark.slow]


def test_kills_lose_nothing(tmp_path: Path, sample_dir: Path, sample: Dataset) -> None:
    project = StressProject(tmp_path / "killed", sample_dir, trials=6, epochs=8)
    toll = sweep_under_fire(project, sample, kills=KILLS, seed=4)
    found = toll.found
    assert found.faults == []
    assert toll.killed == KILLS
    assert found.trials >= 6
    assert (found.lost_epochs, found.duplicated_runs, found.orphans) == (0, 0, 0)
    assert found.equal_replays == found.replays == found.trials


def test_workers_leave_when_the_run_is_killed(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = Project(tmp_path / "p", sample_dir, trials=2, epochs=200, database=database)
    process = project.start(workers=2)
    wait_for(lambda: project.events(0) and project.events(1))
    workers = worker_pids(process.pid)
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: not any(is_alive(pid) for pid in workers), 20.0)
    assert [trial.state for trial in project.study().trials] == [TrialState.WAITING] * 2
    assert project.events(0)[-1] == "stop"


def test_a_dead_worker_is_replaced_and_its_trial_gone_on_with(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = Project(tmp_path / "p", sample_dir, trials=1, epochs=12, database=database)
    process = project.start()
    wait_for(lambda: project.events(0).count("epoch") >= 2)
    (pid,) = worker_pids(process.pid)
    kill(pid)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "worker 0 died (SIGKILL, perhaps out of memory); another takes its place" in err
    kinds = project.events(0)
    assert kinds.count("resume") == 1
    assert kinds.count("epoch") == 12
    begins = [json.loads(line) for line in (project.paths.trial(0) / "events.jsonl").read_text().splitlines()]
    assert begins[0]["kind"] == "start"
