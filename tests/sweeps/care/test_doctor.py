from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mnistnn.files import sha256_file
from sweeps.care.hold import hold_files
from sweeps.ensemble.record import RECORD
from sweeps.study.locks import FileLock
from sweeps.study.storage import load_study, origin_of
from sweeps.tracking.events import EVENTS, parse
from tests.sweeps.care import damages
from tests.sweeps.care.damages import MENDED
from tests.sweeps.care.patient import NAME, Patient, epochs_of, flip
from tests.sweeps.command import Home

pytestmark = pytest.mark.slow


@pytest.fixture
def patient(swept: Home, tmp_path: Path) -> Patient:
    return Patient.copy(swept, tmp_path / "home")


def test_a_study_that_is_well_is_called_so(patient: Patient) -> None:
    before = patient.home.files()
    said = patient.doctor()
    assert (said.code, said.out) == (0, f"study '{NAME}' (4 trials, 6 runs): all is well.\n")
    assert patient.doctor("--fix").code == 0
    assert patient.home.files() == before


# Each damage: what is found, and that nothing else is; that it is mended; that nothing is found then.


@pytest.mark.parametrize("name", MENDED)
def test_each_damage_is_found_alone_and_mended_once(patient: Patient, name: str) -> None:
    damage, expected = MENDED[name]
    damage(patient)
    before = patient.home.files()
    said = patient.doctor("--json")
    found = said.json["findings"]
    assert [(each["check"], _kind(each["object"])) for each in found] == expected, found
    assert {each["status"] for each in found} == {"fixable"}
    assert said.code == 1
    assert patient.home.files() == before  # without --fix nothing is written
    fixed = patient.doctor("--fix", "--json")
    assert {each["status"] for each in fixed.json["findings"]} == {"fixed"}, fixed.json
    assert fixed.code == 0
    again = patient.doctor()
    assert (again.code, "all is well" in again.out) == (0, True), again.out


def _kind(named: str) -> str:
    """Returns what an object is called in the table above: a run's id is another one each time."""
    return "run" if named.startswith("run ") else named


# What is mended is what was there


@pytest.mark.parametrize("name", ["damaged epoch", "damaged start and end", "no record", "no end", "no cursor"])
def test_a_record_made_again_changes_nothing_in_mlflow(patient: Patient, name: str) -> None:
    before = patient.told()
    MENDED[name][0](patient)
    assert patient.doctor("--fix").code == 0
    after = patient.told()
    assert after.keys() == before.keys()
    for key in before:
        assert _without_tags(after[key]) == _without_tags(before[key])


def _without_tags(shown: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leaves out the tags, of which a record that is made again may have fewer."""
    return shown[:4] + shown[5:]


def test_a_damaged_line_is_kept_beside_what_takes_its_place(patient: Patient) -> None:
    whole = patient.lines(1)
    damages.damage_epoch(patient)
    damaged = (patient.folder(1) / EVENTS).read_bytes()
    assert patient.doctor("--fix").code == 0
    lines = patient.lines(1)
    assert list(epochs_of(lines)) == list(epochs_of(whole))
    assert [parse(line) is None for line in lines] == [False] * len(whole)
    assert (patient.folder(1) / f"{EVENTS}.damaged").read_bytes() == damaged


def test_a_run_that_is_gone_is_made_again_with_its_curves(patient: Patient) -> None:
    before = patient.told()
    damages.lose_run(patient)
    assert patient.doctor("--fix").code == 0
    after = patient.told()
    assert after.keys() == before.keys()
    for key in before:
        assert after[key][1:4] == before[key][1:4]
        assert after[key][5] == before[key][5]


def test_weights_come_back_to_the_byte(patient: Patient) -> None:
    path = patient.folder(1) / "weights.npz"
    digest = sha256_file(path)
    flip(path)
    assert patient.doctor("--fix").code == 0
    assert sha256_file(path) == digest
    flip(patient.artifact(1, "weights.npz"))
    assert patient.doctor("--fix").code == 0
    assert sha256_file(patient.artifact(1, "weights.npz")) == digest


def test_a_dead_workers_trial_is_queued_again(patient: Patient) -> None:
    damages.dead_worker(patient)
    assert patient.doctor("--fix").code == 0
    waiting = [trial for trial in patient.study().trials if trial.state == TrialState.WAITING]
    assert [origin_of(trial) for trial in waiting] == [4]


def test_a_moved_project_finds_its_artifacts(patient: Patient, tmp_path: Path) -> None:
    flip(patient.folder(1) / "weights.npz")
    there = tmp_path / "another place"
    os.replace(patient.home.root, there)
    moved = Patient(Home(there, patient.home.data))
    assert moved.found() == [("place", "mlflow.db", "fixable"), ("weights", "trial 1", "fixable")]
    assert moved.doctor("--fix").code == 0
    assert moved.found() == []
    assert moved.mlflow().get_run(moved.run_id(1)).info.artifact_uri.startswith(there.as_uri())
    assert moved.mlflow().list_artifacts(moved.run_id(1))


# What doctor leaves alone


def test_what_nothing_brings_back_is_said(patient: Patient) -> None:
    (patient.folder(1) / "weights.npz").unlink()
    flip(patient.artifact(1, "weights.npz"))
    report = json.loads((patient.paths.ensemble / RECORD).read_text())
    report["members"][0]["member"]["number"] = 300
    (patient.paths.ensemble / RECORD).write_text(json.dumps(report))
    for arguments in ((), ("--fix",)):
        said = patient.doctor(*arguments)
        assert said.code == 1
        assert f"replay {NAME} 1 --keep" in " ".join(said.out.split())
        assert f"nothing; `ensemble {NAME}`" in said.out
    assert patient.found() == [("weights", "trial 1", "open"), ("ensemble", RECORD, "open")]


def test_what_clean_took_away_is_not_missed(patient: Patient) -> None:
    from sweeps.tracking.cleaned import note_cleaned

    note_cleaned(patient.folder(1), {"weights.npz": {"bytes": 1, "sha256": "0", "time": "now"}})
    (patient.folder(1) / "weights.npz").unlink()
    assert patient.found() == []


def test_a_run_that_somebody_deleted_stays_deleted(patient: Patient) -> None:
    patient.mlflow().delete_run(patient.run_id(1))
    said = patient.doctor("--fix")
    assert said.code == 0
    assert "`mlflow runs restore` brings it back" in " ".join(said.out.split())
    assert patient.mlflow().get_run(patient.run_id(1)).info.lifecycle_stage == "deleted"


def test_a_trial_in_work_is_not_looked_at(patient: Patient) -> None:
    damages.dead_worker(patient)
    (patient.folder(4)).mkdir()
    (patient.folder(4) / EVENTS).write_bytes(b"half a li")
    lock = FileLock(patient.folder(4) / "lock")
    assert lock.acquire()
    try:
        for arguments in ((), ("--fix",)):
            said = patient.doctor(*arguments)
            assert (said.code, "1 in work" in said.out) == (0, True), said.out
    finally:
        lock.release()
    assert patient.found() == [("trials", "trial 4", "fixable")]


def test_while_a_run_is_at_work_only_what_is_safe_is_mended(patient: Patient) -> None:
    damages.damage_epoch(patient)
    damages.run_without_trial(patient)
    damages.hang_study(patient)  # as it should be, for a run
    flip(patient.folder(0) / "weights.npz")
    lock = FileLock(patient.paths.lock)
    assert lock.acquire()
    try:
        said = patient.doctor("--fix", "--json")
    finally:
        lock.release()
    found = [(each["check"], each["status"]) for each in said.json["findings"]]
    assert (said.code, found) == (1, [("events", "open"), ("runs", "open"), ("weights", "fixed")])


def test_without_mlflow_the_rest_is_looked_at(patient: Patient) -> None:
    flip(patient.folder(1) / "weights.npz")
    database = patient.home.root / "mlruns" / "mlflow.db"
    database.write_bytes(b"no database" * 1000)
    said = patient.doctor()
    assert said.code == 1
    assert "weights.npz is damaged" in said.out
    assert "MLflow's runs were not looked at" in said.out
    database.unlink()  # there is none yet: everything is still to be delivered, but nothing is made
    assert {check for check, *_ in patient.found()} == {"events", "weights"}
    assert not database.exists()


def test_a_study_that_never_ran_is_no_patient(home: Home) -> None:
    for arguments in (("doctor", NAME), ("doctor", NAME, "--fix"), ("doctor", "unknown")):
        before = home.files()
        said = home(*arguments)
        assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
        assert home.files() == before


def test_files_of_another_trial_are_not_taken_for_this_ones(patient: Patient) -> None:
    for name in ("recipe.json", "val_probs.npz"):
        shutil.copy(patient.folder(1) / name, patient.folder(0) / name)
    before = sha256_file(patient.artifact(0, "val_probs.npz"))
    assert patient.found("--fix") == [("recipe", "trial 0", "fixed"), ("predictions", "trial 0", "fixed")]
    assert sha256_file(patient.folder(0) / "val_probs.npz") == before
    assert patient.found() == []


def test_it_mends_nothing_while_another_verb_holds_the_files(patient: Patient) -> None:
    flip(patient.folder(1) / "weights.npz")
    with hold_files(NAME, patient.paths):
        said = patient.doctor("--fix")
        assert (said.code, len(said.err.splitlines())) == (2, 1)
        assert patient.found() == [("weights", "trial 1", "fixable")]


def test_folders_of_another_storage_are_left_alone(patient: Patient) -> None:
    shutil.copy(patient.paths.journal, patient.home.root / "other.log")
    study = load_study(NAME, str(patient.home.root / "other.log"), patient.paths)
    study.set_user_attr("folder_id", "another")
    before = patient.home.files()
    said = patient.doctor("--fix", "--storage", str(patient.home.root / "other.log"))
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert patient.home.files() == before
