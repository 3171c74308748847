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

_ATTEMPTS = int(os.environ.get("SOAK_KILLS", "10"))


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

    killed, kills = _patient(swept, tmp_path / "0"), 0
    for attempt in range(1, _ATTEMPTS):
        fixing = processes.Process(target=_fix, args=(killed,))
        fixing.start()
        fixing.join(chance.uniform(0.2, 0.9) * took_s)
        fixing.kill()
        fixing.join()
        if fixing.exitcode == -signal.SIGKILL:
            kills += 1
        else:  # it came to its end before that
            _check(killed, whole)
            killed = _patient(swept, tmp_path / str(attempt))
    last = killed.doctor("--fix")
    assert last.code == 0, last.out
    _check(killed, whole)
    assert kills >= 3
    assert whole.told().keys() == before.keys()


def _patient(swept: Home, root: Path) -> Patient:
    patient = Patient.copy(swept, root)
    _damage(patient)
    return patient


def _check(killed: Patient, whole: Patient) -> None:
    """Checks that one is as well as the other, which was mended in one go."""
    assert "all is well" in killed.doctor().out
    assert _curves(killed) == _curves(whole)
    assert _ends(killed) == _ends(whole)
    assert _ends(killed).count(TrialState.WAITING) == 2  # those whose workers died


def _ends(patient: Patient) -> list[TrialState]:
    return sorted(trial.state for trial in patient.study().trials if not trial.user_attrs.get("requeued"))


def _curves(patient: Patient) -> dict[str, object]:
    """Returns what MLflow shows of each run, but for its id: a run that was gone has another one each time."""
    return {key: (shown[1:4], shown[5]) for key, shown in patient.told().items()}
