from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from mnistnn.files import sha256_file
from sweeps.paths import StudyPaths
from sweeps.study import liveness, recovery
from sweeps.study.budget import Budget, Tally
from sweeps.study.claims import Claim, Superseded, claim
from sweeps.study.liveness import Heartbeat, Owner, buried, stale_trials
from sweeps.study.objective import run_trial
from sweeps.study.pruner import make_pruner
from sweeps.study.recovery import fail, recover
from sweeps.study.sampler import make_sampler
from sweeps.study.space import Space
from sweeps.study.storage import load_study, open_storage, open_study
from tests.sweeps.small import make_bench, paths_of, run_next, small_config

CONFIG = small_config(budget__trials=1)
ELSEWHERE = "another kernel"


class Machine:
    """A machine with a worker: its own connection to a database that it shares with others."""

    def __init__(self, root: Path, heartbeat_s: int = 1) -> None:
        self.url, self.paths = f"sqlite:///{root}/trials.db", paths_of(CONFIG, root)
        self._heartbeat_s = heartbeat_s

    def study(self) -> optuna.Study:
        space = Space(CONFIG)
        return load_study(
            CONFIG.name,
            self.url,
            self.paths,
            sampler=make_sampler(CONFIG, space),
            pruner=make_pruner(CONFIG),
            heartbeat_s=self._heartbeat_s,
        )


@pytest.fixture
def machine(tmp_path: Path, sample: Dataset) -> Machine:
    made = Machine(tmp_path)
    open_study(CONFIG, open_storage(made.url, made.paths, heartbeat_s=1), sample.digest)
    return made


def claimed_by(study: optuna.Study, paths: StudyPaths) -> Claim:
    claimed = claim(study, paths, Budget())
    assert claimed is not None
    return claimed


def move_elsewhere(claimed: Claim, lock: Path) -> None:
    """Lets a claim look as if another machine had made it, on a shared folder that knows nothing of its locks."""
    lock.unlink()
    lock.write_text(replace(Owner.me(claimed.trial.number), kernel=ELSEWHERE).text())


def wait_until_stale(study: optuna.Study) -> None:
    deadline = time.monotonic() + 20
    while not stale_trials(study):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "text", ["", "{}", "17", "[]", '{"attempt": 1}', '{"attempt": "1", "kernel": 3}', "\0", "[" * 4000]
)
def test_a_lock_file_that_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    assert Owner.read(tmp_path / "lock") is None
    assert Owner.read(tmp_path / "none") is None


def test_an_owner_is_known_again(tmp_path: Path) -> None:
    me = Owner.me(17)
    (tmp_path / "lock").write_text(me.text())
    assert Owner.read(tmp_path / "lock") == me
    assert me.is_here
    assert not me.is_leaving
    assert not replace(me, kernel=ELSEWHERE).is_here
    orphan = replace(me, parent=2**22 + 1)
    assert orphan.is_leaving
    assert orphan == me  # and so it may put its trial back


def test_a_journal_keeps_no_heartbeats(tmp_path: Path, sample: Dataset) -> None:
    study = open_study(CONFIG, open_storage(None, paths_of(CONFIG, tmp_path)), sample.digest)
    assert stale_trials(study) is None
    with Heartbeat(study, study.ask()) as heartbeat:
        assert not heartbeat.was_lost()


def test_who_sends_heartbeats_from_elsewhere_lives_and_who_stopped_is_dead(machine: Machine) -> None:
    study = machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    with Heartbeat(study, claimed.trial):
        move_elsewhere(claimed, claimed.lock.path)
        time.sleep(3.5)  # past the grace of a heartbeat that is not renewed
        assert recover(machine.study(), machine.paths) == []
    wait_until_stale(study)
    assert recover(machine.study(), machine.paths) == [0]
    assert Tally.of(machine.study().trials) == Tally(waiting=1)


def test_who_works_in_another_folder_lives_and_who_never_gave_a_sign_is_dead(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    elsewhere = paths_of(CONFIG, machine.paths.folder / "elsewhere")  # which has no lock files of this one's workers
    monkeypatch.setattr(liveness, "GRACE", 0)
    with Heartbeat(study, claimed.trial):
        assert recover(machine.study(), elsewhere) == []
    claimed.lock.release()
    other = machine.study()
    with sqlite3.connect(machine.url.removeprefix("sqlite:///")) as database:
        database.execute("DELETE FROM trial_heartbeats")
    assert recover(other, elsewhere) == [0]


def test_who_died_here_is_known_at_once_by_its_lock(machine: Machine) -> None:
    study = machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    assert recover(machine.study(), machine.paths) == []
    claimed.lock.release()
    assert recover(machine.study(), machine.paths) == [0]


def test_two_who_recover_at_once_leave_one_successor(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = machine.study(), machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    claimed.lock.release()
    tell = optuna.Study.tell

    def late(self: optuna.Study, *arguments: Any, **named: Any) -> Any:
        if self is study:  # another machine, whose locks are not ours, has just told the same
            tell(other, *arguments, **named)
        return tell(self, *arguments, **named)

    monkeypatch.setattr(optuna.Study, "tell", late)
    assert recover(study, machine.paths) == []
    assert Tally.of(machine.study().trials) == Tally(waiting=1)


def test_two_who_queue_a_trial_at_once_leave_the_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = machine.study(), machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    claimed.lock.release()
    create = recovery.create_trial

    def late(**named: Any) -> Any:  # another machine, whose locks are not ours, queues it just before us
        monkeypatch.setattr(recovery, "create_trial", create)
        assert recovery.add_successor(other, other.trials[0], {}) is not None
        return create(**named)

    monkeypatch.setattr(recovery, "create_trial", late)
    assert recover(study, machine.paths) == []
    assert Tally.of(machine.study().trials) == Tally(waiting=1)


def test_who_is_too_late_to_recover_a_trial_leaves_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = machine.study(), machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    claimed.lock.release()
    requeue = recovery._requeue

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(recovery, "_requeue", requeue)
        recovery._bury(other, other.trials[0], machine.paths)
        return requeue(*arguments)

    monkeypatch.setattr(recovery, "_requeue", late)
    assert recover(study, machine.paths) == []
    assert Tally.of(machine.study().trials) == Tally(waiting=1)


def test_what_a_lock_file_says_of_an_earlier_attempt_is_no_proof(machine: Machine) -> None:
    study = machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    claimed.lock.path.unlink()
    claimed.lock.path.write_text(Owner.me(buried(claimed.trial.number + 1)).text())  # noted here, of another attempt
    with Heartbeat(study, claimed.trial):
        assert recover(machine.study(), machine.paths) == []
        claimed.lock.path.write_text(Owner.me(buried(claimed.trial.number)).text())  # a recovery was killed half-way
        assert recover(machine.study(), machine.paths) == [0]


@pytest.mark.parametrize("ended_by", ["death", "error"])
def test_a_successor_whose_answer_was_lost_is_not_made_twice(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, ended_by: str
) -> None:
    study = machine.study()
    claimed = claimed_by(study, machine.paths)
    Space(CONFIG).suggest_with(claimed.trial)
    claimed.trial.set_user_attr("label", "net")
    create = type(study._storage).create_new_trial

    def lossy(self: Any, study_id: int, template_trial: Any = None) -> int:
        create(self, study_id, template_trial)  # committed, but nobody hears of it
        return create(self, study_id, template_trial)

    monkeypatch.setattr(type(study._storage), "create_new_trial", lossy)
    if ended_by == "error":
        fail(study, claimed.trial, machine.paths)
        claimed.lock.release()
    else:
        claimed.lock.release()
        recover(study, machine.paths)
    assert Tally.of(machine.study().trials) == Tally(waiting=1)


class Sleeper:
    """Stops at one of its steps for so long that another worker does its trial to the end."""

    def __init__(self, at: int, meanwhile: Callable[[], None]) -> None:
        self._left, self._meanwhile = at, meanwhile

    def __call__(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self._meanwhile()
        return False


@pytest.mark.parametrize("at", [2, 20])  # in its first epoch, and after a checkpoint of its own
def test_a_zombie_changes_nothing_of_what_its_successor_did(
    machine: Machine, tmp_path: Path, sample: Dataset, at: int
) -> None:
    study, paths = machine.study(), machine.paths
    folder = paths.trial(0)
    seen: dict[str, str] = {}

    def succeed() -> None:
        move_elsewhere(claimed, claimed.lock.path)
        study._storage.record_heartbeat = lambda _: None  # type: ignore[attr-defined]  # what sleeps sends none
        other = machine.study()
        wait_until_stale(other)
        assert recover(other, paths) == [0]
        assert run_next(other, make_bench(CONFIG, tmp_path, sample)) == TrialState.COMPLETE
        seen.update({path.name: sha256_file(path) for path in folder.iterdir()})

    claimed = claimed_by(study, paths)
    bench = make_bench(CONFIG, tmp_path, sample, stop=Sleeper(at, succeed))
    with pytest.raises(Superseded), Heartbeat(study, claimed.trial) as heartbeat:
        run_trial(study, claimed.trial, bench, lambda: claimed.check(heartbeat))
    assert {path.name: sha256_file(path) for path in folder.iterdir()} == seen
    assert Tally.of(machine.study().trials) == Tally(complete=1)


def test_without_the_file_a_zombie_learns_it_from_the_database(machine: Machine) -> None:
    study = machine.study()
    claimed = claimed_by(study, machine.paths)
    heartbeat = Heartbeat(study, claimed.trial)
    claimed.check(heartbeat)
    machine.study().tell(claimed.trial.number, state=TrialState.FAIL)
    time.sleep(1.1)  # longer than an interval without a heartbeat of its own
    with pytest.raises(Superseded):
        claimed.check(heartbeat)


def test_a_lock_file_that_was_taken_away_is_noticed(machine: Machine) -> None:
    claimed = claimed_by(machine.study(), machine.paths)
    os.unlink(claimed.lock.path)
    with pytest.raises(Superseded):
        claimed.check()
