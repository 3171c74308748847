"""Who works on which trial: locks of the kernel, which end with their holder however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Tally
from sweeps.study.forecast import Forecast
from sweeps.study.sampler import FeasibleSampler
from sweeps.study.storage import origin_of

__all__ = ["Claim", "FileLock", "OutOfTime", "claim", "queue_lock", "release"]

# While so many trials a worker wait at the end of a queue, the longest goes first.
_LAST_TRIALS = 2


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


class OutOfTime(Exception):
    """No trial that could be started would come far enough in the time that is left."""


def claim(study: optuna.Study, paths: StudyPaths, budget: Budget, forecast: Forecast | None = None) -> Claim | None:
    """Asks for the next trial if the budget has room for one more beside those that run.

    Workers count and ask one after another, so together they never start more than the budget holds.

    Args:
        study: the study.
        paths: its paths.
        budget: how many trials it may have.
        forecast: knows how long they take, and the time that is left.

    Returns:
        The trial, or None if there is no room now (there is again if a running one fails).

    Raises:
        OutOfTime: there is no use in starting any, now or later.
    """
    with queue_lock(paths):
        trials = study.get_trials(deepcopy=False)
        tally = Tally.of(trials)
        if not budget.has_room(tally):
            return None
        trial = study.ask() if forecast is None else _ask(study, trials, tally, budget, forecast)
        lock = FileLock(paths.trial(origin_of(trial)) / "lock")
        if not lock.acquire():  # the attempt before this one is just leaving
            release(study, trial)
            return None
        return Claim(trial, lock)


def _ask(
    study: optuna.Study, trials: Sequence[FrozenTrial], tally: Tally, budget: Budget, forecast: Forecast
) -> optuna.Trial:
    """Asks for a trial that the rest of the time holds: one that waits, in its turn, else a new one, drawn for it.

    Where none would come to its end, one that comes far enough to be of use to a longer run.
    """
    forecast.learn(trials)
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    if budget.queued_only and 0 < len(waiting) <= _LAST_TRIALS * (tally.running + 1) and tally.running:
        # All of them run, in whatever order: the shorter the last one, the shorter do the others' cores idle.
        waiting.sort(key=lambda trial: -(forecast.rest_s(trial) or 0.0))
    elif forecast.left_s is None:
        return study.ask()
    if not forecast.is_reliable:
        return _take(study, waiting[0]) if waiting else study.ask()
    for trial in waiting:
        if forecast.reach_of(trial) >= forecast.whole_of(trial):
            return _take(study, trial)
    drawn = -1.0
    if not budget.queued_only and isinstance(study.sampler, FeasibleSampler):
        drawn = study.sampler.propose(study, forecast.reach, forecast.whole)
        if drawn >= forecast.whole:
            return _take(study, None)
    for trial in waiting:
        if forecast.reach_of(trial) >= forecast.useful_reach_of(trial):
            return _take(study, trial)
    if drawn >= forecast.useful:
        return _take(study, None)
    raise OutOfTime


def _take(study: optuna.Study, waiting: FrozenTrial | None) -> optuna.Trial:
    """Does what `study.ask` does, for a trial of our choice of those that wait, or a new one although some wait."""
    study._thread_local.cached_all_trials = None
    if waiting is None:
        trial_id = study._storage.create_new_trial(study._study_id)
    else:
        trial_id = waiting._trial_id
        study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    return optuna.Trial(study, trial_id)


def release(study: optuna.Study, trial: optuna.Trial) -> None:
    """Puts a running trial back into the queue: the next to ask gets it, its number and parameters unchanged."""
    # Optuna has no public call for this; it takes up a waiting trial with parameters as it does an enqueued one.
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
