from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from sweeps.paths import Paths
from sweeps.study.budget import Budget, Clock
from sweeps.tracking.events import TrialLog
from sweeps.workers.outlook import Outlook


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def test_what_ended_is_told_once_and_in_order(study: optuna.Study) -> None:
    study.add_trial(create_trial(value=2.0))
    outlook = Outlook(study, Budget(trials=9), Clock(0.0), None)
    assert not outlook.is_new
    assert outlook.look() == []
    first, second = study.ask(), study.ask()
    study.tell(second, 3.0)
    study.tell(first, 1.0)
    assert [(trial.number, is_best) for trial, is_best in outlook.look()] == [(2, False), (1, True)]
    assert outlook.best is not None
    assert outlook.best.value == 1.0
    assert outlook.look() == []


def test_the_best_of_a_study_by_accuracy_is_the_highest() -> None:
    study = optuna.create_study(direction="maximize")
    for value in (0.5, 0.9, 0.7):
        study.add_trial(create_trial(value=value))
    outlook = Outlook(study, Budget(), Clock(0.0), None)
    assert outlook.best is not None
    assert outlook.best.value == 0.9


def test_failures_in_a_row(study: optuna.Study) -> None:
    def end(state: TrialState, reason: str | None) -> None:
        trial = study.ask()
        if reason:
            trial.set_user_attr("reason", reason)
        study.tell(trial, state=state)

    end(TrialState.FAIL, "of an earlier call")
    outlook = Outlook(study, Budget(), Clock(0.0), None)
    assert outlook.failures_in_a_row == 0
    end(TrialState.FAIL, "it raised")
    end(TrialState.FAIL, "it raised")
    outlook.look()
    assert outlook.failures_in_a_row == 2
    end(TrialState.FAIL, None)  # a worker that was killed
    outlook.look()
    assert outlook.failures_in_a_row == 0


def test_how_long_the_running_trials_take(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    outlook = Outlook(study, Budget(trials=5), Clock(0.0), None, epochs=4)
    trial = study.ask()
    outlook.look()
    assert outlook.running == []  # nothing is known of it
    trial.set_user_attr("label", "net")
    outlook.look()
    assert [(one.number, one.label, one.epoch_s, one.left_s) for one in outlook.running] == [(0, "net", None, None)]
    trial.set_user_attr("epoch_s_estimate", 10.0)
    now = 103.0
    outlook.look()
    assert outlook.running[0].left_s == 37.0
    now, _ = 112.0, trial.report(0.5, 1)
    trial.set_user_attr("epoch_s", 12.0)
    outlook.look()
    assert (outlook.running[0].done, outlook.running[0].epoch_s, outlook.running[0].left_s) == (1, 12.0, 36.0)
    now = 119.0
    assert outlook.running[0].left_s == 29.0
    now = 1000.0
    assert outlook.running[0].left_s is not None
    assert outlook.running[0].left_s > 36.0  # an epoch that takes longer than was thought: those after it will too
    study.tell(trial, 1.0)
    outlook.look()
    assert outlook.running == []


def test_time_left(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    study.add_trial(create_trial(value=2.0))
    by_trials = Outlook(study, Budget(trials=5), Clock(30.0), None)
    by_time = Outlook(study, Budget(trials=5, time_s=100.0), Clock(30.0), 60.0)
    assert by_trials.left_s is None
    assert by_time.left_s == 60.0
    now = 10.0
    study.tell(study.ask(), 1.0)
    by_trials.look()
    assert by_trials.left_s == 30.0  # three more, at ten seconds each
    assert not by_time.is_timed_out()
    now = 65.0
    assert by_time.is_timed_out()
    assert by_time.left_s == -5.0
    assert not by_time.is_spent()
    now = 70.0
    assert by_time.is_spent()
    assert by_time.share == 1.0


def test_what_the_running_trials_write_is_known(study: optuna.Study, tmp_path: Path) -> None:
    paths = Paths(tmp_path).study("small")
    trial = study.ask()
    for name, value in {"label": "net", "epoch_s": 12.0, "origin": 7}.items():
        trial.set_user_attr(name, value)
    with TrialLog(paths.trial(7)) as log:
        log.start("#007 net", {}, {})
        outlook = Outlook(study, Budget(trials=5), Clock(0.0), None, 4, paths)
        assert (outlook.running[0].done, outlook.running[0].val_accuracy) == (0, None)
        log.epoch(1, {"val_accuracy": 0.5, "images_per_s": 900.0})
        outlook.look()
        now = outlook.running[0]
        assert (now.number, now.done, now.val_accuracy, now.images_per_s) == (7, 1, 0.5, 900.0)
        assert now.left_s == pytest.approx(36.0, abs=2.0)


def test_an_epoch_that_ended_before_the_first_look(study: optuna.Study, tmp_path: Path) -> None:
    paths = Paths(tmp_path).study("small")
    trial = study.ask()
    trial.set_user_attr("label", "net")
    trial.set_user_attr("epoch_s", 12.0)
    paths.trial(0).mkdir(parents=True)
    for ago_s, left_s in ((5.0, 31.0), (500.0, 24.0), (-500.0, 36.0)):
        ended_ms = int(1000 * (time.time() - ago_s))
        line = f'{{"kind":"epoch","seq":1,"time_ms":{ended_ms},"step":1,"metrics":{{}}}}\n'
        (paths.trial(0) / "events.jsonl").write_text(line)
        outlook = Outlook(study, Budget(trials=5), Clock(0.0), None, 4, paths)
        assert outlook.running[0].left_s == pytest.approx(left_s, abs=1.0)
