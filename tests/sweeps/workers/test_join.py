"""Several workers on one study, beside a `run` and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.workers.runs import REPO, Project, is_alive, kill, wait_for, worker_pids

pytestmark = pytest.mark.slow


def call(project: Project, data: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SWEEPS_", "MLFLOW_"))}
    verb, *rest = arguments
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", verb, "live", "--data-dir", str(data), *rest],
        cwd=project.root,
        env=environment | {"PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_study_that_nobody_prepared_cannot_be_joined(tmp_path: Path, sample_dir: Path) -> None:
    code, out, err = said(call(Project(tmp_path / "p", sample_dir), sample_dir, "worker"))
    assert (code, out) == (2, "")
    assert err.startswith("error: study 'live' must be prepared before workers join it")
    assert "`init live` it once" in err
    assert len(err.splitlines()) == 1


def test_a_database_is_prepared_once_and_worked_on_by_two(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = Project(tmp_path / "p", sample_dir, trials=6, epochs=3, database=database)
    storage = ("--storage", f"sqlite:///{tmp_path}/trials.db")
    for _ in range(2):
        code, out, err = said(call(project, sample_dir, "init", *storage))
        assert code == 0, err
        assert out.startswith("study live: prepared, 1 trials queued")
    both = [call(project, sample_dir, "worker", *storage) for _ in range(2)]
    for code, out, err in map(said, both):
        assert code == 0, err
        assert out.startswith("study live: ")
    done = project.results(storage[1])
    assert len(done) == 6
    assert {result[0] for result in done.values()} <= {"COMPLETE", "PRUNED"}
    for number in done:
        kinds = project.events(number)
        assert (kinds.count("start"), kinds[-1]) == (1, "end")
    assert project.statuses() <= {"FINISHED", "KILLED"}


@pytest.mark.kill
def test_who_joined_goes_on_when_the_run_is_killed(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = Project(tmp_path / "p", sample_dir, trials=4, epochs=40, database=database)
    run = project.start("--set", "pruner.type=none")
    wait_for(lambda: project.events(0).count("epoch") >= 1)
    joined = call(project, sample_dir, "worker", "--set", "pruner.type=none")
    wait_for(lambda: project.events(1).count("epoch") >= 1)
    orphans = worker_pids(run.pid)
    kill(run.pid)
    run.communicate(timeout=60)
    code, _, err = said(joined)
    assert code == 0, err
    ended = {number for number, result in project.results().items() if result[0] == "COMPLETE"}
    assert len(ended) == 4
    assert all(project.events(number).count("epoch") == 40 for number in ended)
    assert project.statuses() == {"FINISHED"}  # the study's own run among them: who joined took it over
    wait_for(lambda: not any(is_alive(pid) for pid in orphans))


def test_a_signal_puts_the_trial_of_a_worker_back(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = Project(tmp_path / "p", sample_dir, trials=2, epochs=200, database=database)
    code, _, err = said(call(project, sample_dir, "init"))
    assert code == 0, err
    joined = call(project, sample_dir, "worker")
    wait_for(lambda: project.events(0).count("epoch") >= 1)
    joined.send_signal(signal.SIGTERM)
    code, _, err = said(joined)
    assert code == 130, err
    assert project.events(0)[-1] == "stop"
    assert project.statuses() == {"SCHEDULED"}
