from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.errors import ConfigError, StudyError, TrackingError
from sweeps.study.locks import FileLock
from sweeps.study.space import Space
from sweeps.workers import supervisor
from sweeps.workers.supervisor import run_study
from tests.sweeps.small import end_trial, make_study, paths_of, small_config
from tests.sweeps.workers.runs import Project, is_alive, kill, wait_for, worker_pids

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, sample_dir: Path, database: Path) -> Project:
    return Project(tmp_path / "broken", sample_dir, database=database)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, sample_dir: Path) -> Project:
    """A run that nobody disturbed."""
    project = Project(tmp_path_factory.mktemp("plain") / "plain", sample_dir)
    project.run()
    return project


def test_a_study_runs_to_its_budget(plain: Project) -> None:
    results = plain.results()
    assert sorted(results) == list(range(5))
    assert {result[0] for result in results.values()} <= {"COMPLETE", "PRUNED"}
    assert results[0][0] == "COMPLETE"
    assert plain.study().user_attrs["elapsed_s"] > 0


def test_a_finished_study_says_so_and_starts_nothing(plain: Project) -> None:
    before = plain.paths.journal.read_bytes()
    out, err = plain.run()
    assert "has used up its budget" in err
    assert "study live: " in out
    assert plain.paths.journal.read_bytes() == before


def test_it_is_all_in_mlflow(plain: Project) -> None:
    with sqlite3.connect(plain.root / "mlruns" / "mlflow.db") as database:
        statuses = [status for (status,) in database.execute("SELECT status FROM runs ORDER BY start_time")]
    expected = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
    ends = [expected[result[0]] for result in plain.results().values()]
    assert sorted(statuses) == sorted(["FINISHED", *ends])


def test_a_store_that_was_moved_away_gets_all_of_a_finished_study_anew(plain: Project) -> None:
    database = plain.root / "mlruns" / "mlflow.db"
    before = plain.statuses()
    database.rename(database.with_suffix(".old"))
    _, err = plain.run()
    assert "has used up its budget" in err
    assert "not in MLflow yet" not in err
    assert plain.statuses() == before
    database.with_suffix(".old").unlink()


def test_stops_at_random_moments_change_nothing(plain: Project, project: Project) -> None:
    rng = random.Random(1)
    stops = 0
    for _ in range(40):
        process = project.start()
        try:
            wait_for(lambda: process.poll() is not None or worker_pids(process.pid))  # noqa: B023
            process.communicate(timeout=rng.uniform(0.6, 2.0) if stops < 4 else 240)
        except subprocess.TimeoutExpired:
            process.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
            _, err = process.communicate(timeout=60)
            stops += process.returncode == 130
            assert process.returncode in (0, 130), err
            assert "Traceback" not in err
        if process.returncode == 0:
            break
    assert stops >= 1
    assert project.results() == plain.results()
    assert not list(project.paths.trials.glob("*/checkpoint.npz"))
    for number in project.results():
        kinds = project.events(number)
        assert kinds.count("start") == 1
        assert kinds.count("epoch") == plain.events(number).count("epoch")
        assert kinds[-1] == "end"


def test_a_timeout_ends_a_call_and_the_clock_adds_up(project: Project) -> None:
    out, err = project.run("--timeout", "1", "--set", "budget.epochs=200")
    assert "stopped by the timeout" in err
    first = project.study().user_attrs["elapsed_s"]
    project.run("--timeout", "1", "--set", "budget.epochs=200")
    second = project.study().user_attrs["elapsed_s"]
    assert 1.0 <= first < 5.0
    assert second >= first + 1.0
    assert [trial.state for trial in project.study().trials] == [TrialState.WAITING]


def test_a_budget_of_time_ends_the_study(project: Project) -> None:
    options = ["--set", "budget.epochs=200", "--set", "budget.time=1s"]
    out, err = project.run(*options)
    assert "was stopped by" not in err
    cut = [trial for trial in project.study().trials if trial.state == TrialState.WAITING]
    begun = [trial for trial in cut if "label" in trial.user_attrs]  # the machine may be too slow for it
    assert ("stopped by the end of the budget, to go on in a longer one: #000 (" in err) is bool(begun)
    assert ("1 waiting for a longer budget" in out) is bool(cut)
    _, err = project.run(*options)
    assert "has used up its budget" in err
    assert err.splitlines()[-1].endswith("run live --set budget.time=2s")


def test_more_workers_keep_to_the_trials(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = Project(tmp_path / "many", sample_dir, trials=7, epochs=1, database=database)
    project.run("--trials", "3", workers=3)
    assert sum(result[0] in ("COMPLETE", "PRUNED") for result in project.results().values()) == 3
    out, _ = project.run("--json", workers=3)
    summary = json.loads(out)
    assert summary["complete"] + summary["pruned"] == 7
    assert len(project.results()) == 7


def test_only_one_run_at_a_time_and_a_stop_says_how_to_go_on(project: Project) -> None:
    process = project.start("--set", "budget.epochs=200")
    wait_for(lambda: project.events(0))
    _, err = project.run(code=2)
    assert err.count("\n") == 1
    assert f"process {process.pid}" in err
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by a signal" in err
    assert "The same command goes on with it" in err
    assert "1 waiting for the next run" in out
    assert [trial.state for trial in project.study().trials] == [TrialState.WAITING]


def test_a_changed_space_is_refused(plain: Project) -> None:
    before = plain.paths.journal.read_bytes()
    _, err = plain.run("--set", "search.dropout.high=0.4", code=2)
    assert err.count("\n") == 1
    assert "search.dropout.high: 0.3 → 0.4" in err
    assert plain.paths.journal.read_bytes() == before


@pytest.mark.kill
def test_a_second_signal_ends_it_at_once(project: Project) -> None:
    process = project.start("--set", "budget.epochs=200")
    wait_for(lambda: project.events(0))
    (pid,) = worker_pids(process.pid)
    kill(pid, signal.SIGSTOP)  # a worker that does not come
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not is_alive(pid)
    waiting = [trial for trial in project.study().trials if trial.state == TrialState.WAITING]
    assert len(waiting) == 1


# The same in this process, for what has to be looked at from inside.


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, database: Path) -> None:
    shutil.copy(database, tmp_path / "m.db")  # which `run_here` begins with


def run_here(tmp_path: Path, sample: Dataset, **options: Any) -> tuple[Any, list[str]]:
    lines: list[str] = []
    config = options.pop("config", small_config())
    summary = run_study(
        config, root=tmp_path, dataset=sample, echo=lines.append, tracking_uri=f"sqlite:///{tmp_path}/m.db", **options
    )
    return summary, lines


def test_a_grid_ends_with_its_points(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(
        sampler__type="grid",
        budget={"time": "10m", "epochs": 1},
        search={"filters": [2, 4, 8], "optimizer": {"adam": {"learning_rate": 1e-2}}},
    )
    summary, lines = run_here(tmp_path, sample, config=config, workers=2)
    assert (summary.complete, summary.stopped_by, summary.undelivered) == (3, "budget", 0)
    assert summary.exit_code == 0
    assert lines[0].startswith("study 'small': 10:00")
    assert sum("val loss" in line for line in lines) == 3


def test_a_study_whose_last_seconds_hold_no_trial_ends_then(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(budget={"time": "10m", "epochs": 2})
    study = make_study(config, tmp_path, sample)
    for _ in range(3):
        end_trial(study, Space(config), epoch_s=60.0)
    study.set_user_attr("elapsed_s", 590.0)
    summary, lines = run_here(tmp_path, sample, config=config, workers=2)
    assert (summary.stopped_by, summary.complete, summary.waiting) == ("budget", 3, 0)
    assert summary.total_s == pytest.approx(600.0, abs=1.0)
    assert summary.elapsed_s < 10.0
    assert any(line.startswith("the last ") and line.endswith("are too short for another trial.") for line in lines)
    summary, lines = run_here(tmp_path, sample, config=config)
    assert summary.stopped_by == "complete"
    # More time is gone on with.
    longer = small_config(budget={"time": "15m", "epochs": 2})
    summary, lines = run_here(tmp_path, sample, config=longer, workers=2, trials=1)
    assert summary.complete == 4


def test_a_database_as_storage(tmp_path: Path, sample: Dataset) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    config = small_config(budget__epochs=1)
    summary, _ = run_here(tmp_path, sample, config=config, workers=2, storage_url=url)
    assert (summary.complete, summary.stopped_by) == (3, "budget")
    assert not paths_of(config, tmp_path).journal.exists()
    summary, lines = run_here(tmp_path, sample, config=config, storage_url=url)
    assert summary.stopped_by == "complete"
    assert summary.best_number is not None


def test_another_storage_does_not_write_over_the_trials_of_the_first(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(budget__epochs=1)
    run_here(tmp_path, sample, config=config)
    weights = {path: path.read_bytes() for path in paths_of(config, tmp_path).trials.glob("*/weights.npz")}
    with pytest.raises(StudyError, match="another one; name that with --storage"):
        run_here(tmp_path, sample, config=small_config(study__seed=9), storage_url=f"sqlite:///{tmp_path}/trials.db")
    assert weights
    assert {path: path.read_bytes() for path in weights} == weights


def test_workers_that_cannot_work_end_the_run(tmp_path: Path, sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    summary, lines = run_here(tmp_path, sample, workers=2)
    assert (summary.stopped_by, summary.exit_code) == ("failure", 1)
    assert sum("it is not replaced again" in line for line in lines) == 2


def test_a_study_whose_trials_all_fail_ends(tmp_path: Path, sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(budget__trials=50)
    make_study(config, tmp_path, sample)
    blocked = paths_of(config, tmp_path)
    assert blocked.folder.is_dir()
    (tmp_path / "sitecustomize.py").write_text(
        "import mnistnn.training as t\ndef no(*a, **k): raise ArithmeticError('broken')\nt.Trainer._train_step = no\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    summary, lines = run_here(tmp_path, sample, config=config, workers=1)
    assert summary.stopped_by == "failure"
    assert any("ArithmeticError: broken" in line for line in lines)
    assert any("attempts failed; the run ends here" in line for line in lines)


def test_a_server_that_does_not_answer_is_refused_before_anything_begins(tmp_path: Path, sample: Dataset) -> None:
    with pytest.raises(TrackingError):
        run_study(small_config(), root=tmp_path, dataset=sample, tracking_uri="http://127.0.0.1:9")
    assert not paths_of(small_config(), tmp_path).journal.exists()


def test_the_lock_is_given_back_after_an_error(tmp_path: Path, sample: Dataset) -> None:
    with pytest.raises((StudyError, ConfigError)):
        run_study(small_config(), root=tmp_path, dataset=sample, storage_url="nosuchdb://x")
    lock = FileLock(paths_of(small_config(), tmp_path).lock)
    assert lock.acquire()
    lock.release()


def test_outside_the_main_thread_signals_are_left_alone(tmp_path: Path, sample: Dataset) -> None:
    found: list[Any] = []

    def run() -> None:
        found.append(run_here(tmp_path, sample, config=small_config(budget__trials=1), workers=1)[0])

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(120)
    assert found[0].stopped_by == "budget"
    assert signal.getsignal(signal.SIGINT) is before
    assert supervisor.RunSummary is type(found[0])
