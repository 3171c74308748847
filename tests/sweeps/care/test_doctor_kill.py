"""Doctor is itself killed: whatever it was about to mend, the next call mends."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.sweeps.care import damages
from tests.sweeps.care.patient import Patient, flip
from tests.sweeps.command import Home

pytestmark = [pytest.mark.slow, pytest.mark.kill]

_KILLS = 12


def _damage(patient: Patient) -> None:
    """Damages the study in many ways at once."""
    flip(patient.folder(0) / "weights.npz")
    patient.artifact(0, "recipe.json").unlink()
    damages.damage_start_and_end(patient)
    damages.lose_run(patient)
    damages.hang_run(patient)
    damages.run_without_trial(patient)
    damages.folder_without_trial(patient)
    damages.dead_worker(patient)
    damages.lose_successor(patient)
    damages.hang_study(patient)
    damages.leave_half_file(patient)
    damages.lose_record(patient)
    damages.tear_journal(patient)


def _fix(patient: Patient) -> None:
    """Is a process of its own: its exit code is that of the command."""
    os._exit(patient.doctor("--fix", "--quiet").code)


def _warm_up() -> None:
    """Is a process too: it makes the server that the others come from import what takes seconds."""


def test_doctor_may_be_killed_at_any_moment(swept: Home, tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["sweeps.care.doctor", "mlflow", "mlflow.store.tracking.sqlalchemy_store"])
    first = processes.Process(target=_warm_up)
    first.start()
    first.join()
    chance = random.Random(5)
    whole = Patient.copy(swept, tmp_path / "whole")
    before = whole.told()
    _damage(whole)
    fixing = processes.Process(target=_fix, args=(whole,))
    began = time.monotonic()
    fixing.start()
    fixing.join()
    took_s = time.monotonic() - began
    assert fixing.exitcode == 0, whole.doctor("--fix").out

    killed = Patient.copy(swept, tmp_path / "killed")
    _damage(killed)
    kills = 0
    for _ in range(_KILLS):
        fixing = processes.Process(target=_fix, args=(killed,))
        fixing.start()
        fixing.join(chance.uniform(0.2, 1.0) * took_s)
        fixing.kill()
        fixing.join()
        kills += fixing.exitcode == -signal.SIGKILL
    assert kills >= 3
    last = killed.doctor("--fix")
    assert last.code == 0, last.out
    assert "all is well" in killed.doctor().out
    assert _curves(killed) == _curves(whole)
    assert _curves(killed).keys() == before.keys()
    ends = [trial for trial in killed.study().trials if not trial.user_attrs.get("requeued")]
    assert sorted(trial.state for trial in ends) == [TrialState.COMPLETE] * 4 + [TrialState.WAITING] * 2


def _curves(patient: Patient) -> dict[str, object]:
    """Returns what MLflow shows of each run, but for its id: a run that was gone has another one each time."""
    return {key: (shown[1:4], shown[5]) for key, shown in patient.told().items()}
