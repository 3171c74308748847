"""The ways in which a study is damaged here: each one thing, as kills, disks and people do it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from optuna.trial import TrialState

from sweeps.tracking.cursor import CURSOR
from sweeps.tracking.events import EVENTS, TrialLog
from tests.sweeps.care.patient import Patient, flip, forget_run

Damage = Callable[[Patient], object]


def tear_journal(patient: Patient) -> None:
    with open(patient.paths.journal, "ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "x')


def damage_epoch(patient: Patient) -> None:
    lines = patient.lines(1)
    at = next(i for i, line in enumerate(lines) if b'"kind":"epoch"' in line)
    lines[at] = lines[at].replace(b'"metrics":{', b'"metrics":[')
    (patient.folder(1) / EVENTS).write_bytes(b"".join(lines))


def damage_start_and_end(patient: Patient) -> None:
    lines = patient.lines(1)
    lines[0], lines[-1] = b"\0" * len(lines[0]) + b"\n", lines[-1][:20]
    (patient.folder(1) / EVENTS).write_bytes(b"".join(lines))


def lose_record(patient: Patient) -> None:
    (patient.folder(2) / EVENTS).unlink()
    (patient.folder(2) / CURSOR).unlink()


def lose_end(patient: Patient) -> None:
    lines = patient.lines(2)
    (patient.folder(2) / EVENTS).write_bytes(b"".join(lines[:-1]))


def lose_cursor(patient: Patient) -> None:
    (patient.folder(3) / CURSOR).unlink()


def lose_run(patient: Patient) -> None:
    forget_run(patient.home.root / "mlruns" / "mlflow.db", patient.run_id(3))


def hang_run(patient: Patient) -> None:
    patient.mlflow().update_run(patient.run_id(0), status="RUNNING")


def change_result(patient: Patient) -> None:
    patient.mlflow().log_metric(patient.run_id(0), "best_val_loss", 9.0, step=0)


def hang_study(patient: Patient) -> None:
    with TrialLog(patient.paths.parent) as log:
        log.start("study", {}, {})  # it resumes


def double_run(patient: Patient) -> None:
    client = patient.mlflow()
    run = client.get_run(patient.run_id(2))
    client.create_run(run.info.experiment_id, tags={"sweeps.key": run.data.tags["sweeps.key"], "trial": "2"})


def run_without_trial(patient: Patient) -> None:
    client = patient.mlflow()
    run = client.get_run(patient.run_id(2))
    parent = run.data.tags["mlflow.parentRunId"]
    client.create_run(
        run.info.experiment_id, tags={"sweeps.key": "0" * 24, "trial": "77", "mlflow.parentRunId": parent}
    )


def folder_without_trial(patient: Patient) -> None:
    with TrialLog(patient.folder(40)) as log:
        log.stop("")


def dead_worker(patient: Patient) -> None:
    patient.add_attempt(1, TrialState.RUNNING)


def lose_successor(patient: Patient) -> None:
    patient.add_attempt(1, TrialState.FAIL, requeued=True)


def two_ends(patient: Patient) -> None:
    patient.add_attempt(1, TrialState.WAITING, origin=1)


def checkpoint_of_ended(patient: Patient) -> None:
    os.replace(final(patient, 1), patient.folder(1) / "checkpoint.npz")


def damage_final(patient: Patient) -> None:
    flip(final(patient, 1))


def damage_checkpoint(patient: Patient) -> None:
    patient.add_attempt(1, TrialState.WAITING)
    folder = patient.folder(4)
    folder.mkdir()
    data = final(patient, 1).read_bytes()
    (folder / "checkpoint.npz").write_bytes(data[:-100])
    (folder / "checkpoint.previous.npz").write_bytes(data)


def leave_half_file(patient: Patient) -> None:
    path = patient.folder(1) / ".weights.npz.abc.tmp"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - 3600,) * 2)


def damage_recipe_everywhere(patient: Patient) -> None:
    (patient.folder(1) / "recipe.json").write_text("{")
    patient.artifact(1, "recipe.json").unlink()


def final(patient: Patient, number: int) -> Path:
    path = patient.folder(number) / "final.npz"
    assert path.exists()
    return path


#: Each damage, and what doctor finds then: check and object.
MENDED: dict[str, tuple[Damage, list[tuple[str, str]]]] = {
    "torn journal": (tear_journal, [("journal", "journal.log")]),
    "dead worker": (dead_worker, [("trials", "trial 4")]),
    "no successor": (lose_successor, [("trials", "trial 4")]),
    "two live ends": (two_ends, [("trials", "trial 1")]),
    "folder without a trial": (folder_without_trial, [("folders", "trials/00040")]),
    "damaged epoch": (damage_epoch, [("events", "trial 1")]),
    "damaged start and end": (damage_start_and_end, [("events", "trial 1")]),
    "no record": (lose_record, [("events", "trial 2")]),
    "no end": (lose_end, [("events", "trial 2")]),
    "no cursor": (lose_cursor, [("events", "trial 3")]),
    "run lost": (lose_run, [("runs", "trial 3")]),
    "run hangs": (hang_run, [("runs", "trial 0")]),
    "another result": (change_result, [("runs", "trial 0")]),
    "study hangs": (hang_study, [("events", "the study's own")]),
    "two runs of a key": (double_run, [("runs", "run")]),
    "run without a trial": (run_without_trial, [("runs", "run")]),
    "weights missing": (lambda p: (p.folder(1) / "weights.npz").unlink(), [("weights", "trial 1")]),
    "weights damaged": (lambda p: flip(p.folder(1) / "weights.npz"), [("weights", "trial 1")]),
    "copy missing": (lambda p: p.artifact(1, "weights.npz").unlink(), [("weights", "trial 1")]),
    "copy damaged": (lambda p: flip(p.artifact(1, "val_probs.npz")), [("predictions", "trial 1")]),
    "predictions damaged": (lambda p: flip(p.folder(1) / "val_probs.npz"), [("predictions", "trial 1")]),
    "recipe damaged": (damage_recipe_everywhere, [("recipe", "trial 1")]),
    "checkpoint of an ended trial": (checkpoint_of_ended, [("checkpoints", "trial 1")]),
    "damaged final state": (damage_final, [("checkpoints", "trial 1")]),
    "damaged checkpoint": (damage_checkpoint, [("checkpoints", "trial 4")]),
    "half a file": (leave_half_file, [("leftovers", "trials/00001/.weights.npz.abc.tmp")]),
}
