from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.errors import StudyError
from sweeps.study.storage import load_study
from sweeps.workers.order import Order
from sweeps.workers.signals import stop_signals
from sweeps.workers.worker import StopFlag, work
from tests.sweeps.small import make_study, paths_of, small_config

REPO = Path(__file__).resolve().parents[3]


def order(root: Path, dataset: Dataset) -> Order:
    made = Order.of(small_config(), root, dataset, storage=None, trials=2)
    return dataclasses.replace(made, parent=None)


def test_an_order_survives_its_way(tmp_path: Path, sample: Dataset) -> None:
    made = Order.of(small_config(), tmp_path, sample, storage="sqlite:///x", trials=7)
    assert Order.from_json(made.to_json()) == made
    assert made.parent == os.getpid()
    assert made.study == "small"
    assert made.tags.keys() >= {"study", "seed", "config_hash", "data_digest", "numpy", "blas"}
    assert [entry["rows"] for entry in made.inputs] == [1500, 300]


def test_a_worker_runs_the_budget(tmp_path: Path, sample: Dataset) -> None:
    study = make_study(small_config(), tmp_path, sample)
    work(order(tmp_path, sample), lambda: False, print)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2


def test_a_worker_that_is_told_to_stop_begins_nothing(tmp_path: Path, sample: Dataset) -> None:
    study = make_study(small_config(), tmp_path, sample)
    work(order(tmp_path, sample), lambda: True, print)
    assert study.trials == []


def test_a_worker_leaves_when_nothing_would_come_far_enough(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(budget={"time": "10m", "epochs": 2})
    study = make_study(config, tmp_path, sample)
    make = dataclasses.replace(Order.of(config, tmp_path, sample, storage=None, trials=None), parent=None)
    work(dataclasses.replace(make, left_s=60.0), after_three(study), print)
    begun = len(study.trials)
    assert begun >= 3
    work(dataclasses.replace(make, left_s=0.001), lambda: False, print)  # or it would go on for ever
    assert len(study.trials) == begun


def after_three(study: optuna.Study) -> Callable[[], bool]:
    """Returns a stop that says so when three trials have ended."""
    return lambda: sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)) >= 3


def test_data_that_changed_are_refused(tmp_path: Path, sample: Dataset) -> None:
    make_study(small_config(), tmp_path, sample)
    made = dataclasses.replace(order(tmp_path, sample), data_digest="0" * 64)
    with pytest.raises(StudyError, match="must not change during a sweep"):
        work(made, lambda: False, print)


def test_the_flag_is_set_by_signals_and_by_the_parents_end() -> None:
    known = {number: signal.getsignal(number) for number in stop_signals()}
    flag = StopFlag(os.getppid())
    flag.install()
    try:
        assert not flag()
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag()
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
    assert not StopFlag(None)()
    assert StopFlag(os.getppid() + 1)()


def test_nohup_is_heeded() -> None:
    known = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, known)


@pytest.mark.slow
def test_a_worker_process_imports_nothing_that_it_does_not_need(tmp_path: Path, sample: Dataset) -> None:
    make_study(small_config(), tmp_path, sample)
    heavy = ["mlflow", "pandas", "sqlalchemy", "alembic", "matplotlib", "scipy", "sklearn", "requests", "click"]
    program = (
        "import sys, sweeps.workers.worker as w; code = w.main();"
        f"sys.exit(code or [m for m in {heavy} if m in sys.modules] or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=order(tmp_path, sample).to_json(),
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(load_study("small", None, paths_of(small_config(), tmp_path)).trials) == 2


@pytest.mark.slow
def test_a_worker_without_its_study_says_so_in_one_line(tmp_path: Path, sample: Dataset) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.workers.worker", "small"],
        input=order(tmp_path, sample).to_json(),
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: study 'small' must have been run before")
