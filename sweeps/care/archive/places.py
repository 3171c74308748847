"""Where an imported study is made, and how it takes its place: in one step, so that a kill leaves it whole or not."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from sweeps.care.archive.snapshot import Snapshot
from sweeps.errors import StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.locks import FileLock
from sweeps.study.storage import open_storage
from sweeps.tracking.address import public, reason_of

__all__ = ["filled", "place", "staging", "taken"]

#: An attribute of a study that is being written into a storage of its own: what a kill leaves is begun anew.
_IMPORTING = "importing"
_LOCK = "import.lock"


def taken(name: str) -> StudyError:
    """Returns the error of a study whose folder is there already."""
    return StudyError(
        f"a study must be imported under a name that is free, but studies/{name}/ is there already; "
        "give it another one with --as NAME."
    )


@contextlib.contextmanager
def staging(paths: Paths, name: str) -> Iterator[StudyPaths]:
    """Yields an empty folder beside the studies, which nobody else has; what is left in it at the end is removed.

    Raises:
        StudyError: another process is importing a study of this name.
        OutputError: the disk cannot be written.
    """
    folder = paths.studies / f".{name}.import"
    lock = FileLock(folder / _LOCK)
    try:
        if not lock.acquire():
            raise StudyError(f"one `import` at a time must make study {name!r}, but another one does; wait for it.")
        try:
            for left in folder.iterdir():  # by one that was killed
                if left != lock.path:
                    _remove(left)
            yield StudyPaths(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # which is not there any more if all went well
            lock.release()
    except OSError as error:
        raise OutputError(
            f"a study must be writable, but {paths.studies / name} is not ({error.strerror or error}); "
            "make room, or see to its rights, and import it again."
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextlib.contextmanager
def filled(url: str, paths: StudyPaths, snapshot: Snapshot) -> Iterator[None]:
    """Writes the study into a storage that others may use too; it counts when the block has ended.

    Raises:
        StudyError: there is one of this name, that no killed import left; or the storage does not take it.
    """
    storage = open_storage(url, paths)
    try:
        for known in storage.get_all_studies():
            if known.study_name == snapshot.name:
                if not known.user_attrs.get(_IMPORTING):
                    raise StudyError(
                        f"a study must be imported under a name that is free, but the storage has a study "
                        f"{snapshot.name!r} already; give it another one with --as NAME."
                    )
                storage.delete_study(known._study_id)
        study_id = snapshot.with_attrs(**{_IMPORTING: True}).copy_into(storage)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StudyError(
            f"a study's storage must take it, but {public(url)} does not ({reason_of(error)}); import it again."
        ) from error
    yield
    storage.set_study_user_attr(study_id, _IMPORTING, False)


def place(staged: Path, target: Path, toml: tuple[Path, str] | None) -> None:
    """Gives the study's file and its folder their places; the folder last, in one step, and by it the study is there.

    Raises:
        StudyError: another process made the folder in the meantime.
    """
    if toml is not None:
        with atomic_write(toml[0], "w") as file:
            file.write(toml[1])
    try:
        os.rename(staged, target)  # an empty folder would be replaced, one with files is not
    except OSError as error:
        if target.exists():
            raise taken(target.name) from error
        raise
    (target / _LOCK).unlink(missing_ok=True)
