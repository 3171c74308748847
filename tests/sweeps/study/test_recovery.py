from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Tally
from sweeps.study.claims import Claim, claim
from sweeps.study.liveness import Owner
from sweeps.study.recovery import MAX_LOSSES, MAX_RETRIES, fail, recover
from sweeps.study.space import Space
from sweeps.study.storage import load_study, origin_of
from sweeps.tracking.events import TrialLog
from tests.sweeps.small import make_study, paths_of, small_config

CONFIG = small_config(study__baselines=["mlp3"])


@pytest.fixture
def study(tmp_path: Path, sample: Dataset) -> optuna.Study:
    return make_study(CONFIG, tmp_path, sample)


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    return paths_of(CONFIG, tmp_path)


def begin(study: optuna.Study, paths: StudyPaths, *, epochs: int = 0) -> Claim:
    """Claims a trial and takes it as far as the objective would."""
    claimed = claim(study, paths, Budget())
    assert claimed is not None
    Space(CONFIG).suggest_with(claimed.trial, claimed.trial.user_attrs.get("overrides", {}))
    claimed.trial.set_user_attr("label", "net")
    known = study.trials[claimed.trial.number].intermediate_values
    for epoch in range(1, epochs + 1):
        if epoch not in known:
            claimed.trial.report(1 / epoch, epoch)
    return claimed


def die(claimed: Claim) -> None:
    claimed.lock.release()  # as the kernel does


def test_a_dead_trial_is_queued_again_under_its_number(study: optuna.Study, paths: StudyPaths) -> None:
    die(begin(study, paths, epochs=1))
    assert recover(study, paths) == [0]
    first, second = study.trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert second.params == first.params
    assert second.distributions == first.distributions
    assert second.intermediate_values == {1: 1.0}
    assert second.user_attrs["role"] == "baseline"
    assert origin_of(second) == 0
    assert second.system_attrs["retry_history"] == [0]
    assert recover(study, paths) == []
    assert Tally.of(study.trials) == Tally(waiting=1)
    again = begin(study, paths)
    assert again.trial.number == 1
    assert again.trial.params == first.params
    assert again.lock.path == paths.trial(0) / "lock"
    die(again)
    assert recover(study, paths) == [0]
    assert [origin_of(trial) for trial in study.trials] == [0, 0, 0]
    assert study.trials[2].system_attrs["retry_history"] == [0, 1]


def test_a_living_trial_is_left_alone(study: optuna.Study, paths: StudyPaths) -> None:
    claimed = begin(study, paths)
    began = time.monotonic()
    assert recover(study, paths, patience_s=5.0) == []
    assert time.monotonic() - began < 5.0
    assert study.trials[0].state == TrialState.RUNNING
    die(claimed)


def test_who_leaves_is_waited_for(study: optuna.Study, paths: StudyPaths) -> None:
    claimed = begin(study, paths)
    orphan = replace(Owner.me(claimed.trial.number), parent=2**22 + 1)  # no process has such a number
    claimed.lock.note(orphan.text())
    began = time.monotonic()
    assert recover(study, paths, patience_s=0.3) == []
    assert time.monotonic() - began >= 0.3
    die(claimed)


def test_a_trial_that_ends_by_itself_is_left_alone(study: optuna.Study, paths: StudyPaths) -> None:
    claimed = begin(study, paths)
    study.tell(claimed.trial, 0.5)
    die(claimed)
    assert recover(study, paths) == []
    assert study.trials[0].state == TrialState.COMPLETE


def test_what_had_no_parameters_yet_is_given_up_but_a_baseline_is_not(study: optuna.Study, paths: StudyPaths) -> None:
    for _ in range(2):
        claimed = claim(study, paths, Budget())
        assert claimed is not None
        die(claimed)
    assert recover(study, paths) == [0]  # the baseline; of the other nothing is lost
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.FAIL, TrialState.WAITING]
    assert study.trials[2].user_attrs["preset"] == "mlp3"
    assert Tally.of(study.trials) == Tally(waiting=1)


@pytest.mark.parametrize("step", ["create_new_trial", "tell"])
def test_a_kill_during_recovery_loses_and_doubles_nothing(
    study: optuna.Study, paths: StudyPaths, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    die(begin(study, paths))

    def dying(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study if step == "tell" else type(study._storage), step, dying)
        with pytest.raises(KeyboardInterrupt):
            recover(study, paths)
    again = load_study(CONFIG.name, None, paths)
    assert recover(again, paths) == [0]
    assert [trial.state for trial in again.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_trial_that_kills_its_workers_is_given_up(study: optuna.Study, paths: StudyPaths) -> None:
    with TrialLog(paths.trial(0)) as log:
        log.start("#000", {}, {})
    for _ in range(MAX_LOSSES):
        TrialLog(paths.trial(0)).start("#000", {}, {})
        die(begin(study, paths))
        assert recover(study, paths) == [0]
    die(begin(study, paths))
    TrialLog(paths.trial(0)).start("#000", {}, {})
    assert recover(study, paths) == []
    assert study.trials[-1].user_attrs["reason"] == f"its worker died {MAX_LOSSES + 1} times"
    assert Tally.of(study.trials) == Tally(failed=1)
    assert TrialLog(paths.trial(0)).state == "FAIL"


def test_the_run_of_a_dead_trial_waits(study: optuna.Study, paths: StudyPaths) -> None:
    claimed = begin(study, paths)
    with TrialLog(paths.trial(0)) as log:
        log.start("#000", {}, {})
    die(claimed)
    recover(study, paths)
    assert TrialLog(paths.trial(0)).state == "waiting"


def test_a_trial_that_comes_along_is_never_given_up(study: optuna.Study, paths: StudyPaths) -> None:
    for epochs in range(1, MAX_LOSSES + 4):
        die(begin(study, paths, epochs=epochs))
        assert recover(study, paths) == [0]
    assert study.trials[-1].user_attrs["losses"] == 0


def test_a_failure_after_another_epoch_does_not_count(study: optuna.Study, paths: StudyPaths) -> None:
    for epochs in range(1, MAX_RETRIES + 4):
        claimed = begin(study, paths, epochs=epochs)
        fail(study, claimed.trial, paths)
        die(claimed)
    assert Tally.of(study.trials) == Tally(waiting=1)
    for attempt in range(MAX_RETRIES + 1):  # from here on it comes no further
        claimed = begin(study, paths)
        assert claimed.trial.user_attrs["failures"] == attempt
        fail(study, claimed.trial, paths)
        die(claimed)
    assert Tally.of(study.trials) == Tally(failed=1)


def test_a_failing_trial_is_tried_again_twice(study: optuna.Study, paths: StudyPaths) -> None:
    for attempt in range(1 + MAX_RETRIES):
        claimed = begin(study, paths)
        assert claimed.trial.user_attrs.get("failures", 0) == attempt
        claimed.trial.set_user_attr("reason", "it raised")
        fail(study, claimed.trial, paths)
        die(claimed)
    assert all(trial.state == TrialState.FAIL for trial in study.trials)
    assert [trial.user_attrs["reason"] for trial in study.trials] == ["it raised"] * 3
    assert len(study.trials) == 1 + MAX_RETRIES
    assert Tally.of(study.trials) == Tally(failed=1)
