"""Where a study's trials are kept: Optuna's journal in a file, or a database; and what a study remembers of itself."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mnistnn.files import atomic_write
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.liveness import HEARTBEAT_S
from sweeps.tracking.address import public, sqlite_path

if TYPE_CHECKING:
    from sweeps.config import StudyConfig

__all__ = [
    "bind_folder",
    "join_study",
    "journal_path",
    "load_study",
    "open_storage",
    "open_study",
    "origin_of",
    "repair_journal",
]

optuna.logging.set_verbosity(optuna.logging.WARNING)

Result = TypeVar("Result")

_SHOWN_DIFFERENCES = 4
_JOURNAL_BEGINS = b'{"op_code":'
_BLOCK = 1 << 16


def open_storage(url: str | None, paths: StudyPaths, *, heartbeat_s: int = HEARTBEAT_S) -> BaseStorage:
    """Opens the storage of a study.

    Args:
        url: an Optuna URL (sqlite:///…, postgresql+psycopg://…), the path of a journal, or None for the study's own.
        paths: the study's paths.
        heartbeat_s: seconds between two signs of life of a worker, in a database.

    Raises:
        StudyError: it cannot be opened.
    """
    journal = journal_path(url, paths)
    if journal is None:
        from sweeps.study.database import open_database

        return _guarded(lambda: open_database(str(url), heartbeat_s), str(url))
    _check_journal(journal)
    return _guarded(lambda: _open_journal(journal), str(journal))


def open_study(config: StudyConfig, storage: BaseStorage, data_digest: str) -> optuna.Study:
    """Creates the study, or opens it if it is still the same one: same search space, same data.

    Only one process at a time may do so (the `run` that holds the study's lock): databases do not bear a creation
    by many at once.

    Raises:
        StudyError: the study was made with another search space or with other data.
        ConfigError: its limits leave nothing to be sampled.
    """
    from sweeps.study.sampler import check_possible

    study = _guarded(lambda: _load_or_create(config, storage), f"study {config.name!r}")
    known = study.user_attrs
    if not known.get("enqueued"):
        check_possible(config)  # before anything of this space is remembered
    _check_same(config, known, data_digest)
    for key, value in {"data_digest": data_digest, "config": config.to_dict(), "space_hash": config.space_hash}.items():
        if known.get(key) != value:
            study.set_user_attr(key, value)
    if not known.get("enqueued"):
        _enqueue(study, config)
        study.set_user_attr("enqueued", True)
    return study


def join_study(config: StudyConfig, storage: BaseStorage, data_digest: str) -> optuna.Study:
    """Opens a study that others work on too, and changes nothing.

    Raises:
        StudyError: nobody prepared it, or with another search space or other data.
    """

    def load() -> optuna.Study | None:
        try:
            return optuna.load_study(study_name=config.name, storage=storage)
        except KeyError:
            return None

    study = _guarded(load, f"study {config.name!r}")
    known = {} if study is None else study.user_attrs
    if study is None or not known.get("enqueued"):
        raise StudyError(
            f"study {config.name!r} must be prepared before workers join it, but its storage does not have it; "
            f"`init {config.name}` it once, with the same --storage."
        )
    _check_same(config, known, data_digest)
    return study


def _check_same(config: StudyConfig, known: dict[str, Any], data_digest: str) -> None:
    """Sees that what a study remembers of itself is what is asked for.

    Raises:
        StudyError: it is not.
    """
    if "space_hash" in known and known["space_hash"] != config.space_hash:
        changes = config.space_difference(known["config"])
        shown = "; ".join(changes[:_SHOWN_DIFFERENCES]) + (" …" if len(changes) > _SHOWN_DIFFERENCES else "")
        raise StudyError(
            f"the search space of study {config.name!r} must stay as it was begun, but got {shown}; "
            "undo the change or give the study another name."
        )
    if "data_digest" in known and known["data_digest"] != data_digest:
        raise StudyError(
            f"study {config.name!r} must see the data it was begun with (digest {known['data_digest'][:12]}), "
            f"but got other data ({data_digest[:12]}); name the same --data-dir or give the study another name."
        )


def bind_folder(study: optuna.Study, paths: StudyPaths) -> None:
    """Ties a study and its folder together, for good.

    A study of the same name in another storage counts its trials from 0 too: it would write over the files of these.

    Raises:
        StudyError: the folder belongs to another study.
        OutputError: the folder cannot be written.
    """
    known = study.user_attrs.get("folder_id")
    try:
        found = paths.identity.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if known is None:
            known = os.urandom(8).hex()
            study.set_user_attr("folder_id", known)
        with atomic_write(paths.identity, "w") as file:
            file.write(f"{known}\n")
        return
    if found != known:
        raise StudyError(
            f"the trials in {paths.folder} must be those of the storage, but they belong to study {study.study_name!r} "
            "in another one; name that with --storage, move the folder away, or give the study another name."
        )


def load_study(
    name: str,
    url: str | None,
    paths: StudyPaths,
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    heartbeat_s: int = HEARTBEAT_S,
) -> optuna.Study:
    """Opens a study that is there already, and changes nothing.

    Raises:
        StudyError: there is no such study yet, or its storage cannot be opened.
    """
    missing = StudyError(f"study {name!r} must have been run before, but has no trials yet; start with `run {name}`.")
    file = journal_path(url, paths) or sqlite_path(url or "")
    if file is not None and not file.exists():  # opening it would make it
        raise missing
    storage = open_storage(url, paths, heartbeat_s=heartbeat_s)
    try:
        return optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
    except KeyError:
        raise missing from None


def origin_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Returns the number under which a trial began: its folder, its seed and its run keep it over all attempts."""
    return int(trial.user_attrs.get("origin", trial.number))


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
    _check_journal(journal)
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
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Waits for the lock.

        Raises:
            OSError: the journal's end could not be mended.
        """
        # `.lock` is the name of Optuna's own.
        descriptor = os.open(f"{self._journal}.flock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if repaired := _mend_end(self._journal):
                self._say(repaired)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


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


def journal_path(url: str | None, paths: StudyPaths) -> Path | None:
    """Returns the journal's file, or None where the storage is a database."""
    if url is None:
        return paths.journal
    return None if "://" in url else Path(url)


def _check_journal(path: Path) -> None:
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


def _open_journal(path: Path) -> BaseStorage:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = JournalLock(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _guarded(open_it: Callable[[], Result], what: str) -> Result:
    """Calls `open_it`; whatever a driver raises becomes one line without the URL's password."""
    try:
        return open_it()
    except StudyError:
        raise
    except Exception as error:  # each driver has its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        password = re.search(r"\w://[^\s/:@]*:([^\s/@]+)@", what)
        if password:
            reason = reason.replace(password[1], "***")
        raise StudyError(
            f"a study's storage must be one that opens, but {public(what)} does not "
            f"({public(reason).rstrip('.')}); check --storage."
        ) from error


def _load_or_create(config: StudyConfig, storage: BaseStorage) -> optuna.Study:
    try:  # a creation of what is there would leave a line in the journal each time
        return optuna.load_study(study_name=config.name, storage=storage)
    except KeyError:
        direction: Any = config.direction
        return optuna.create_study(study_name=config.name, storage=storage, direction=direction, load_if_exists=True)


def _enqueue(study: optuna.Study, config: StudyConfig) -> None:
    """Queues what comes first: every point of a grid, or the baselines. What is queued already is left alone."""
    from sweeps.study.grid import grid_points
    from sweeps.study.space import Space

    space = Space(config)
    queued = [trial.user_attrs for trial in study.get_trials(deepcopy=False)]
    for preset in config.baselines:
        values, overrides = space.preset_values(preset)
        attributes: dict[str, Any] = {"role": "baseline", "preset": preset, "overrides": overrides}
        if attributes not in [{key: known.get(key) for key in attributes} for known in queued]:
            study.enqueue_trial(values, user_attrs=attributes)
    if config.sampler.type == "grid":
        points = {known.get("point") for known in queued}
        for point, values in enumerate(grid_points(space)):
            if point not in points:
                study.enqueue_trial(values, user_attrs={"point": point})
