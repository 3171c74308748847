"""Who is alive: the owner of a trial, as its lock file names it, and its heartbeats where a database keeps some."""

from __future__ import annotations

import functools
import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

__all__ = ["GRACE", "HEARTBEAT_S", "Heartbeat", "Owner", "buried", "is_dead", "kernel_id", "stale_trials"]

#: Seconds between two signs of life of a worker, where a database keeps them.
HEARTBEAT_S = 60
#: So many intervals without a heartbeat mean that the worker is dead.
GRACE = 3

_LONGEST_NOTE = 4096  # bytes


@functools.cache
def kernel_id() -> str:
    """Names the kernel that runs us, until its next start. Containers on one machine share it, and its file locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who works on a trial.

    Attributes:
        attempt: Optuna's number of the attempt; another attempt at the same trial has another one.
        kernel: where it runs.
        pid: its process.
        parent: the process that started it; an orphan, which gets another, is still the same owner.
    """

    attempt: int
    kernel: str
    pid: int
    parent: int = field(compare=False)

    @classmethod
    def me(cls, attempt: int) -> Owner:
        """Returns this process as the owner of an attempt."""
        return cls(attempt=attempt, kernel=kernel_id(), pid=os.getpid(), parent=os.getppid())

    @classmethod
    def read(cls, path: Path) -> Owner | None:
        """Returns whom a lock file names, or None if that is nobody."""
        try:
            with open(path, encoding="utf-8") as file:
                owner = cls(**json.loads(file.read(_LONGEST_NOTE)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        numbers = (owner.attempt, owner.pid, owner.parent)
        sound = type(owner.kernel) is str and all(type(number) is int for number in numbers)  # JSON may hold anything
        return owner if sound else None

    def text(self) -> str:
        """Returns what `read` reads."""
        return json.dumps(asdict(self)) + "\n"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this kernel, whose locks then say all."""
        return self.kernel == kernel_id()

    @property
    def is_leaving(self) -> bool:
        """Whether the process that started it is gone: it leaves at its next step."""
        return self.is_here and not _exists(self.parent)


def stale_trials(study: optuna.Study) -> set[int] | None:
    """Returns the ids of running trials whose heartbeat stopped; None where the storage keeps no heartbeats."""
    if _interval_s(study) is None:
        return None
    return set(_storage_of(study)._get_stale_trial_ids(study._study_id))


def buried(attempt: int) -> int:
    """Returns what a lock file names instead of an attempt whose worker was found dead: no attempt's number."""
    return -1 - attempt


def is_dead(study: optuna.Study, trial: FrozenTrial, owner: Owner | None, stale: set[int] | None) -> bool:
    """Says whether the worker of a running trial is dead, whose lock was found free.

    Where all workers share a kernel that is the proof. A folder that several machines share may keep their locks apart:
    there the heartbeats decide, by the database's clock.

    Args:
        study: the study.
        trial: one of its running trials.
        owner: whom its lock file names.
        stale: what `stale_trials` gave.
    """
    if stale is None:
        return True
    # What the file says of an earlier attempt says nothing of this one: another machine's worker may have just begun.
    if owner is not None and (
        owner.attempt == buried(trial.number) or (owner.attempt, owner.is_here) == (trial.number, True)
    ):
        return True
    if trial._trial_id in stale:
        return True
    if _storage_of(study)._backend.has_heartbeat(trial._trial_id):
        return False
    # Its worker died between the question for a trial and the first heartbeat, milliseconds later.
    grace = timedelta(seconds=GRACE * (_interval_s(study) or 0))
    return trial.datetime_start is not None and datetime.now() - trial.datetime_start > grace


class Heartbeat:
    """Tells the database, while the block runs, that a trial's worker is alive. Where there is none it does nothing."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial) -> None:
        self._storage, self._trial_id = _storage_of(study), trial._trial_id
        self._interval_s = _interval_s(study)
        self._ending = threading.Event()
        self._last = _now_s()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def was_lost(self) -> bool:
        """Says whether others had to think that this worker is dead, and took its trial away.

        A process that slept (SIGSTOP, a paused machine) cannot know by itself.
        """
        if self._interval_s is None or _now_s() - self._last < self._interval_s:
            return False
        if self._storage.get_trial(self._trial_id).state != TrialState.RUNNING:
            return True
        self._record()
        return False

    def _beat(self) -> None:
        while not self._ending.wait(self._interval_s):
            self._record()

    def _record(self) -> None:
        try:
            self._storage.record_heartbeat(self._trial_id)
            self._last = _now_s()
        except Exception:  # a database that is away: the training goes on, and the next beat tries again
            return

    def __enter__(self) -> Heartbeat:
        if self._interval_s is not None:
            self._record()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()


def _interval_s(study: optuna.Study) -> int | None:
    interval = getattr(study._storage, "get_heartbeat_interval", None)
    return None if interval is None else interval()


def _storage_of(study: optuna.Study) -> Any:
    """Returns the storage as what keeps heartbeats: Optuna has no public type for that."""
    return study._storage


def _now_s() -> float:
    """Seconds that count on while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True
