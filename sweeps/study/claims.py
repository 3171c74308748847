"""Who works on which trial: locks of the kernel, which end with their holder however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import TrialState

from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Tally
from sweeps.study.storage import origin_of

__all__ = ["Claim", "FileLock", "claim", "queue_lock", "release"]


class FileLock:
    """A lock on a file between processes. Nothing has to be cleaned up after a holder that died.

    Args:
        path: the file; it is made, and stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> bool:
        """Takes the lock, and says whether it could; with `wait` as soon as it can."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def note(self, text: str) -> None:
        """Writes into the locked file who holds it."""
        if self._descriptor is not None:
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text.encode(), 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that this process, and no other, works on; until `lock` is released or the process ends."""

    trial: optuna.Trial
    lock: FileLock


@contextlib.contextmanager
def queue_lock(paths: StudyPaths) -> Iterator[None]:
    """Holds the study's queue: only inside are trials asked for, or taken from the dead."""
    lock = FileLock(paths.folder / "queue.lock")
    lock.acquire(wait=True)
    try:
        yield
    finally:
        lock.release()


def claim(study: optuna.Study, paths: StudyPaths, budget: Budget) -> Claim | None:
    """Asks for the next trial if the budget has room for one more beside those that run.

    Workers count and ask one after another, so together they never start more than the budget holds.

    Returns:
        The trial, or None if there is no room now (there is again if a running one fails).
    """
    with queue_lock(paths):
        if not budget.has_room(Tally.of(study.get_trials(deepcopy=False))):
            return None
        trial = study.ask()
        lock = FileLock(paths.trial(origin_of(trial)) / "lock")
        if not lock.acquire():  # the attempt before this one is just leaving
            release(study, trial)
            return None
        return Claim(trial, lock)


def release(study: optuna.Study, trial: optuna.Trial) -> None:
    """Puts a running trial back into the queue: the next to ask gets it, its number and parameters unchanged."""
    # Optuna has no public call for this; it takes up a waiting trial with parameters as it does an enqueued one.
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
