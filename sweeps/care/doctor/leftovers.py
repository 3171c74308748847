"""Checks of what should not be there: damaged checkpoints, those of trials that ended, files that a kill left half."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mnistnn.checkpoint import check_checkpoint
from mnistnn.errors import CheckpointError
from sweeps.care.doctor.events import holding
from sweeps.care.doctor.findings import Finding
from sweeps.care.doctor.scene import Scene
from sweeps.study.checkpoints import CHECKPOINT, FINAL, PREVIOUS
from sweeps.study.recovery import settle_checkpoints

__all__ = ["check_checkpoints", "check_temporaries"]

_OLD_S = 600.0  # what was begun so long ago, nobody is writing any more


def check_checkpoints(scene: Scene, seen: Callable[[], object] = lambda: None) -> list[Finding]:
    """Finds checkpoints that are damaged, and such as nobody will go on with.

    Args:
        scene: the study.
        seen: is called after each trial.
    """
    found: list[Finding] = []
    for number, trial, folder in scene.idle():
        kept = [name for name in (CHECKPOINT, PREVIOUS) if (folder / name).exists()]
        if kept and trial.state.is_finished():
            found.append(
                Finding(
                    "checkpoints",
                    f"trial {number}",
                    "it has ended, but its checkpoint is left",
                    f"it is kept as {FINAL}, or removed",
                    partial(settle_checkpoints, scene.study, scene.paths),
                )
            )
        elif kept:
            found += _damaged(scene, number, folder, kept)
        if (folder / FINAL).exists() and not _is_whole(folder / FINAL):
            wrong = f"{FINAL} is damaged: `extend` cannot go on from it"
            remedy = "it is removed"
            found.append(
                Finding("checkpoints", f"trial {number}", wrong, remedy, partial(_remove, scene, number, FINAL))
            )
        seen()
    return found


def check_temporaries(scene: Scene) -> list[Finding]:
    """Finds files that a kill left half written, under the names they had meanwhile."""
    before = time.time() - _OLD_S
    found: list[Finding] = []
    for path in _temporaries(scene.paths.folder):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                name = str(path.relative_to(scene.paths.folder))
                wrong, remedy = "it was being written when its process died", "it is removed"
                found.append(Finding("leftovers", name, wrong, remedy, partial(path.unlink, missing_ok=True)))
    return found


def _damaged(scene: Scene, number: int, folder: Path, kept: list[str]) -> Iterator[Finding]:
    whole = [name for name in kept if _is_whole(folder / name)]
    for name in kept:
        if name not in whole:
            goes_on = "the one before takes its place" if whole else "the trial begins anew"
            remedy = f"it is removed; {goes_on}" if name == CHECKPOINT else "it is removed"
            wrong = f"{name} is damaged"
            yield Finding("checkpoints", f"trial {number}", wrong, remedy, partial(_remove, scene, number, name))


def _is_whole(path: Path) -> bool:
    try:
        check_checkpoint(path)
    except CheckpointError:
        return not path.exists()  # it was removed just now
    return True


def _remove(scene: Scene, number: int, name: str) -> None:
    path = scene.paths.trial(number) / name
    with holding(scene, number):
        if not _is_whole(path):
            path.unlink(missing_ok=True)


def _temporaries(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        yield from (Path(place) / name for name in sorted(names) if name.startswith(".") and name.endswith(".tmp"))
