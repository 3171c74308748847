"""Which files of a study's folder go into an archive, and under which names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sweeps.paths import StudyPaths
from sweeps.study.checkpoints import CHECKPOINT, FINAL, PREVIOUS
from sweeps.tracking.cleaned import CLEANED
from sweeps.tracking.cursor import CURSOR
from sweeps.tracking.events import EVENTS

__all__ = [
    "CHECKPOINTS",
    "CONFIG",
    "JOURNAL",
    "files_of_ensembles",
    "files_of_parent",
    "files_of_trial",
    "is_study_file",
]

#: The study's own file, which lies beside its folder.
CONFIG = "study.toml"
JOURNAL = "journal.log"
#: What a trial that has not ended goes on from.
CHECKPOINTS = (CHECKPOINT, PREVIOUS)

_FILE = r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}(\.[A-Za-z0-9_-]{1,20}){1,3}"
_FOLDERS = rf"(parent|pictures|trials/[0-9]{{5,9}}|ensemble|ensemble/[0-9a-f]{{12}})/{_FILE}"
_NAME = re.compile(rf"{re.escape(CONFIG)}|{re.escape(JOURNAL)}|{_FOLDERS}")

# A cursor tells how far a store elsewhere came. What a lock, a log or a backup says is of the machine it lies on.
_LEFT_OUT = re.compile(rf"{re.escape(CURSOR)}|.*\.(lock|flock|log|tmp|torn|sock|pid)")

# What was cleaned is read when what it names was.
_FIRST, _LAST = (EVENTS,), (FINAL, CLEANED)


def is_study_file(name: str) -> bool:
    """Says whether a name is that of a file which an archive may hold.

    There are no dots before names, no `..`, no roots, no drives, and no folders but a study's own.
    """
    if name in (CONFIG, JOURNAL):
        return True
    return bool(_NAME.fullmatch(name)) and not _LEFT_OUT.fullmatch(name.rpartition("/")[2])


def files_of_parent(paths: StudyPaths) -> Iterator[tuple[str, Path]]:
    """Yields the files of the study's own run, and its pictures: the name in an archive, and the path."""
    yield from _files(paths.parent, "parent")
    yield from _files(paths.pictures, "pictures")


def files_of_ensembles(paths: StudyPaths) -> Iterator[tuple[str, Path]]:
    """Yields the files of all ensembles that were built: the name in an archive, and the path."""
    yield from _files(paths.ensemble, "ensemble")
    for folder in sorted(_folders(paths.ensemble)):
        yield from _files(folder, f"ensemble/{folder.name}")


def files_of_trial(paths: StudyPaths, origin: int) -> Iterator[tuple[str, Path]]:
    """Yields a trial's files but its checkpoints, in the order in which they are to be copied while it is at work."""
    prefix = f"trials/{origin:05d}"
    return ((name, path) for name, path in _files(paths.trial(origin), prefix) if path.name not in CHECKPOINTS)


def _files(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    for name in sorted(names, key=lambda name: (name not in _FIRST, name in _LAST, name)):
        if is_study_file(f"{prefix}/{name}"):
            yield f"{prefix}/{name}", folder / name


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
