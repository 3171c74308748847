"""The lock that keeps apart what copies a study's files, removes some, or puts some back."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from mnistnn.errors import OutputError
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.locks import FileLock

__all__ = ["hold_files"]


@contextlib.contextmanager
def hold_files(name: str, paths: StudyPaths, *, only_read: bool = False) -> Iterator[None]:
    """Holds the files of the study called `name`. A run, and all that only adds to them, goes on.

    Args:
        name: the study's.
        paths: its paths.
        only_read: True goes on without a lock where the folder cannot be written: so nobody can remove anything.

    Raises:
        StudyError: the study has no folder, or another process holds its files.
        OutputError: its folder cannot be written.
    """
    if not paths.folder.is_dir():
        raise StudyError(f"study {name!r} must have been run before, but has no trials yet; start with `run {name}`.")
    lock = FileLock(paths.folder / "files.lock")
    try:
        is_ours = lock.acquire()
    except OSError as error:
        if only_read and error.errno in (errno.EROFS, errno.EACCES):
            yield
            return
        raise OutputError(
            f"a study's folder must be writable, but {paths.folder} is not ({error.strerror}); see to its rights."
        ) from error
    if not is_ours:
        raise StudyError(
            "one `export`, `clean`, `replay --keep` or `doctor --fix` at a time must work on the files of study "
            f"{name!r}, but another one does already; wait for it."
        )
    try:
        yield
    finally:
        lock.release()
