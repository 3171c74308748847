"""Checks of what holds all the rest: the journal's end, the ensemble's record, and where the project lies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from functools import partial
from pathlib import Path

from optuna.trial import TrialState

from mnistnn.errors import CheckpointError
from mnistnn.files import sha256_file
from sweeps.care.doctor.findings import Finding
from sweeps.care.doctor.scene import Scene
from sweeps.ensemble.members import Member
from sweeps.ensemble.outside import outside_path
from sweeps.ensemble.record import RECORD, load_report
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.journal import journal_path, repair_journal
from sweeps.tracking.address import sqlite_path
from sweeps.tracking.place import places, relocate
from sweeps.tracking.store import artifact_root, is_empty

__all__ = ["check_ensemble", "check_journal", "check_place", "moved_from"]


def check_journal(storage_url: str | None, paths: StudyPaths) -> list[Finding]:
    """Finds a last line that a full disk or a power cut left unfinished."""
    journal = journal_path(storage_url, paths)
    if journal is None or not journal.is_file() or _is_whole(journal):
        return []
    wrong, remedy = "its last line is unfinished", f"that is moved to {journal.name}.torn"
    return [Finding("journal", journal.name, wrong, remedy, partial(repair_journal, storage_url, paths))]


def check_place(uri: str, root: Path, *, is_running: bool) -> list[Finding]:
    """Finds that MLflow's database looks for artifacts where this project's folder no longer is.

    Raises:
        TrackingError: the database does not open.
    """
    database, here = sqlite_path(uri), artifact_root(uri, root)
    if database is None or here is None or not database.exists() or is_empty(database):
        return []
    found: list[Finding] = []
    moved = moved_from(uri, root)
    for old in sorted(places(database) - {here}):
        if old.exists():
            wrong = f"MLflow's artifacts lie in {old}"
            found.append(Finding("place", database.name, wrong, "that may be meant so", is_note=True))
        elif old in moved:
            wrong = f"it looks for artifacts in {old}, which has moved to {here}"
            mend = None if is_running else partial(relocate, database, old, here)
            remedy = "stop the `run` first" if is_running else "all addresses in it are set to where they are"
            found.append(Finding("place", database.name, wrong, remedy, mend))
        else:
            wrong = f"MLflow's artifacts should lie in {old}, and are not there"
            found.append(Finding("place", database.name, wrong, f"move them to {here}, and call this again"))
    return found


def moved_from(uri: str, root: Path) -> dict[Path, Path]:
    """Returns the folders that MLflow's database looks for artifacts in and that are gone, and where they are now.

    Raises:
        TrackingError: the database does not open.
    """
    database, here = sqlite_path(uri), artifact_root(uri, root)
    if database is None or here is None or not database.exists() or is_empty(database) or not here.is_dir():
        return {}
    return {old: here for old in places(database) - {here} if not old.exists()}


def check_ensemble(scene: Scene) -> list[Finding]:
    """Finds a record of an ensemble that is damaged, or names trials or weights that are not there."""
    if not (scene.paths.ensemble / RECORD).exists():
        return []
    again = f"`ensemble {scene.config.name}` builds it again"
    try:
        report = load_report(scene.paths)
    except StudyError:
        return []  # it was removed just now
    except CheckpointError:
        return [Finding("ensemble", RECORD, "it is damaged", again)]
    found: list[Finding] = []
    for scored in report.members:
        number = scored.member.number
        if not scored.member.is_own or scored.member.epoch is not None:
            if (wrong := _elsewhere(scored.member, scene.paths)) is not None:
                found.append(Finding("ensemble", RECORD, wrong, again))
            continue
        trial = scene.trials.get(number)
        if trial is None or trial.state != TrialState.COMPLETE:
            wrong = f"its member {number} is no finished trial"
        elif trial.user_attrs.get("weights_sha256") != scored.member.weights_sha256:
            wrong = f"the weights of its member {number} are others than that trial has"
        else:
            continue
        found.append(Finding("ensemble", RECORD, wrong, again))
    return found


def _elsewhere(member: Member, paths: StudyPaths) -> str | None:
    """Says what is wrong with a member from another study or from outside, or with a snapshot."""
    path = outside_path(paths, member.weights_sha256) if member.outside else member.weights(paths)
    try:
        is_same = sha256_file(path) == member.weights_sha256
    except OSError:
        return f"{path.name} of its member {member.name} is not there"
    return None if is_same else f"{path.name} of its member {member.name} is another one"


def _is_whole(journal: Path) -> bool:
    """Says whether a journal ends with a whole line, when nobody is writing one."""
    with contextlib.ExitStack() as stack, open(journal, "rb") as file:
        with contextlib.suppress(OSError):
            lock = os.open(f"{journal}.flock", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_SH)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read(1) in (b"\n", b"")
