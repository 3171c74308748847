"""Optuna's journal: a file of JSON lines, its lock, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.locks import FileLock

__all__ = ["JournalLock", "check_journal", "journal_path", "open_journal", "repair_journal"]

_JOURNAL_BEGINS = b'{"op_code":'
_BLOCK = 1 << 16


def journal_path(url: str | None, paths: StudyPaths) -> Path | None:
    """Returns the journal's file, or None where the storage is a database."""
    if url is None:
        return paths.journal
    return None if "://" in url else Path(url)


def check_journal(path: Path) -> None:
    """Checks that a file is a journal, if it is there: another one would be written into.

    Raises:
        StudyError: it is another file, or cannot be read.
    """
    if not path.exists():
        return
    try:
        with open(path, "rb") as file:
            start = file.read(len(_JOURNAL_BEGINS))
    except OSError as error:
        raise StudyError(
            f"a study's journal must be a file that can be written, but {path} is not ({error.strerror}); "
            "check --storage."
        ) from None
    if not _JOURNAL_BEGINS.startswith(start):
        raise StudyError(
            f"a study's journal must be Optuna's, but {path} is another file; name a new one by --storage."
        )


def open_journal(path: Path) -> BaseStorage:
    """Opens a journal, which is made if it is not there."""
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = JournalLock(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def repair_journal(url: str | None, paths: StudyPaths) -> str | None:
    """Cuts off a last line that a full disk or a power cut left unfinished, and keeps it beside the journal.

    Every writer does so before it writes; this is for who wants to know.

    Returns:
        What was done, in one line, or None if the journal is whole (or none).

    Raises:
        StudyError: the file is no journal; nothing was done to it.
        OSError: it cannot be mended.
    """
    journal = journal_path(url, paths)
    if journal is None or not journal.is_file():
        return None
    check_journal(journal)
    said: list[str] = []
    lock = JournalLock(journal, said.append)
    lock.acquire()
    lock.release()
    return said[0] if said else None


class JournalLock:
    """Keeps writers of one journal apart by a lock of the kernel, which ends with its holder, and mends its end.

    Optuna's own lock is a symbolic link: one that a killed worker leaves behind stops all others for 30 seconds. And a
    line that another writer left unfinished (a full disk, a power cut) would be glued to the next, and the study be
    lost for ever: so whoever takes the lock cuts it off first.

    Args:
        journal: the journal's file.
        say: takes a line about what was cut off.
    """

    def __init__(self, journal: Path, say: Callable[[str], object] = lambda line: None) -> None:
        self._journal, self._say = journal, say
        self._lock = FileLock(journal.with_name(f"{journal.name}.flock"))  # `.lock` is the name of Optuna's own

    def acquire(self) -> bool:
        """Waits for the lock.

        Raises:
            OSError: the journal's end could not be mended.
        """
        self._lock.acquire(wait=True)
        try:
            if repaired := _mend_end(self._journal):
                self._say(repaired)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        """Gives it back."""
        self._lock.release()


def _mend_end(journal: Path) -> str | None:
    """Moves an unfinished last line out of a journal whose lock is held. Returns what was done, or None."""
    try:
        file = open(journal, "rb+")  # noqa: SIM115  # closed below; only its absence is passed over
    except FileNotFoundError:
        return None
    with file:
        size = file.seek(0, os.SEEK_END)
        if size == 0 or os.pread(file.fileno(), 1, size - 1) == b"\n":
            return None
        start = size  # of the unfinished line
        while start:
            begin = max(0, start - _BLOCK)
            end = os.pread(file.fileno(), start - begin, begin).rfind(b"\n")
            if end >= 0:
                start = begin + end + 1
                break
            start = begin
        torn = os.pread(file.fileno(), size - start, start)
        kept = journal.with_name(f"{journal.name}.torn")
        with open(kept, "ab") as backup:
            backup.write(torn + b"\n")
            backup.flush()
            os.fsync(backup.fileno())
        file.truncate(start)
        os.fsync(file.fileno())
    return f"{journal} ended in an unfinished line ({size - start} bytes); it was moved to {kept.name}."
