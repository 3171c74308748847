"""Putting replayed files where a trial's own are missing or damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write, sha256_file
from mnistnn.npz import open_plain, read_arrays
from sweeps.care.hold import hold_files
from sweeps.care.replay.record import Record, state_of
from sweeps.care.replay.report import Replay
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.checkpoints import FINAL
from sweeps.study.locks import FileLock
from sweeps.study.snapshots import snapshot_files
from sweeps.tracking.cleaned import forget_cleaned

__all__ = ["broken_files", "put_back"]

_NEAR = 1e-5  # between probabilities by the same weights, from one version of NumPy to another


def broken_files(record: Record, made: Path) -> list[str]:
    """Returns which of the files that came out are missing from the trial's folder, or damaged there."""
    broken = [name for name, is_whole in _FILES.items() if (made / name).exists() and not is_whole(record, made)]
    return [*broken, *(name for name in snapshot_files(made) if not _has_snapshot(record, made, name))]


def put_back(found: Replay, record: Record, paths: StudyPaths, made: Path) -> Replay:
    """Puts the files in `made` where the trial's are missing or damaged, if the replay is the same.

    Killed in between, it is done to the end by the next call: each file is whole or as it was.

    Returns:
        The replay, with what was put back.

    Raises:
        StudyError: another process works on the trial's files.
        OutputError: they cannot be written.
    """
    if not found.is_same:
        return replace(found, remarks=(*found.remarks, "nothing was put back: what came out is not what is recorded"))
    with hold_files(record.study, paths):
        lock = FileLock(record.folder / "lock")
        try:
            is_ours = lock.acquire()
        except OSError as error:
            raise OutputError(
                f"a trial's folder must be writable, but {record.folder} is not ({error.strerror}); see to its rights."
            ) from error
        if not is_ours:
            raise StudyError(
                f"a trial's files must be left alone to be mended, but another process holds #{record.number:03d}; try "
                "again."
            )
        try:
            kept = broken_files(record, made)  # as they are now that nobody else works on them
            for name in kept:
                with atomic_write(record.folder / name) as file:
                    file.write((made / name).read_bytes())
            forget_cleaned(
                record.folder, [name for name in (*_FILES, *snapshot_files(made)) if (record.folder / name).exists()]
            )
        finally:
            lock.release()
    remarks = found.remarks if kept else (*found.remarks, "nothing was put back: no file was missing or damaged")
    return replace(found, broken=(), kept=tuple(kept), remarks=remarks)


def _has_weights(record: Record, made: Path) -> bool:
    try:
        return sha256_file(record.folder / "weights.npz") == record.weights_sha256
    except OSError:
        return False


def _has_recipe(record: Record, made: Path) -> bool:
    ours = (made / "recipe.json").read_bytes()
    try:
        with open_plain(record.folder / "recipe.json") as file:
            return bool(json.loads(file.read(len(ours) * 4)) == json.loads(ours))
    except (OSError, ValueError, RecursionError):
        return False


def _has_probs(record: Record, made: Path, name: str = "val_probs.npz") -> bool:
    ours = read_arrays(made / name)
    try:
        theirs = read_arrays(record.folder / name)
        if "indices" in theirs and not np.array_equal(theirs["indices"], ours["indices"]):  # older files have none
            return False
        return np.array_equal(theirs["labels"], ours["labels"]) and bool(
            theirs["probs"].shape == ours["probs"].shape
            and theirs["probs"].dtype == ours["probs"].dtype
            and np.abs(theirs["probs"] - ours["probs"]).max() <= _NEAR
        )
    except (OSError, ValueError, KeyError):
        return False


def _has_snapshot(record: Record, made: Path, name: str) -> bool:
    if name.endswith(".probs.npz"):
        return _has_probs(record, made, name)
    try:
        return sha256_file(record.folder / name) == sha256_file(made / name)
    except OSError:
        return False


def _has_state(record: Record, made: Path) -> bool:
    return state_of(record.folder / FINAL) == state_of(made / FINAL)


#: What is put back, in this order: nothing comes before what it was made by.
_FILES: dict[str, Callable[[Record, Path], bool]] = {
    "weights.npz": _has_weights,
    "recipe.json": _has_recipe,
    "val_probs.npz": _has_probs,
    FINAL: _has_state,
}
