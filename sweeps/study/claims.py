"""Who works on which trial: it is asked for, locked and named as its own by one worker at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Tally, is_asked
from sweeps.study.forecast import Forecast
from sweeps.study.lineage import is_final
from sweeps.study.liveness import Heartbeat, Owner
from sweeps.study.locks import FileLock
from sweeps.study.sampler import FeasibleSampler
from sweeps.study.storage import origin_of

if TYPE_CHECKING:
    from sweeps.study.final import FinalStage

__all__ = ["Claim", "OutOfTime", "Superseded", "claim", "queue_lock", "release"]

# While so many trials a worker wait at the end of a queue, the longest goes first.
_LAST_TRIALS = 2


class Superseded(Exception):
    """Others took this process for dead, and another attempt goes on with its trial."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that this process, and no other, works on; until `lock` is released or the process ends."""

    trial: optuna.Trial
    lock: FileLock

    def check(self, heartbeat: Heartbeat | None = None) -> None:
        """Sees that the trial is still ours: to be called before each write into its folder.

        A process that slept for long, or whose lock a file server forgot, may have a successor by now. To look takes
        microseconds; a write that has begun already is whole, and of the same bytes as its successor's.

        Raises:
            Superseded: it is not.
        """
        owner = Owner.read(self.lock.path)
        if owner != Owner.me(self.trial.number) or (heartbeat is not None and heartbeat.was_lost()):
            raise Superseded


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


def claim(
    study: optuna.Study,
    paths: StudyPaths,
    budget: Budget,
    forecast: Forecast | None = None,
    final: FinalStage | None = None,
) -> Claim | None:
    """Asks for the next trial if the budget has room for one more beside those that run.

    Workers count and ask one after another, so together they never start more than the budget holds.

    Args:
        study: the study.
        paths: its paths.
        budget: how many trials it may have.
        forecast: knows how long they take, and the time that is left, for the search.
        final: the stage that a worker goes over to for which the search has nothing more, if there is one.

    Returns:
        The trial, or None if there is no room now (there is again if a running one fails).

    Raises:
        OutOfTime: there is no use in starting any, now or later.
    """
    with queue_lock(paths):
        trials = budget.of_call(study.get_trials(deepcopy=False))
        if budget.is_full(Tally.of(trials)):
            return None
        trial = (
            _of_search(study, trials, budget, forecast)
            if final is None
            else _of_either(study, trials, budget, forecast, final)
        )
        if trial is None:
            return None
        lock = FileLock(paths.trial(origin_of(trial)) / "lock")
        if not lock.acquire():  # the attempt before this one is just leaving
            release(study, trial)
            return None
        try:
            lock.note(Owner.me(trial.number).text())
        except BaseException:  # a full disk: the trial is found again by its free lock
            lock.release()
            raise
        return Claim(trial, lock)


def _of_either(
    study: optuna.Study, trials: Sequence[FrozenTrial], budget: Budget, forecast: Forecast | None, final: FinalStage
) -> optuna.Trial | None:
    """Asks for a trial of the search, or, where it has no use for another one now, for a member of the final stage.

    So a worker that comes first to the end of the search does not wait for the others: what they are at may still
    become the best, and the members after this one are of it then.
    """
    left_s = None if forecast is None else forecast.left_s
    if left_s is None or left_s > 0:
        with contextlib.suppress(OutOfTime):
            searched = [trial for trial in trials if not is_final(trial)]
            if (trial := _of_search(study, searched, budget, forecast, is_last=False)) is not None:
                return trial
            if left_s is None and any(trial.state == TrialState.RUNNING for trial in searched):
                return None  # no time presses: the members are of the best of all
    waiting = final.next(study, trials)
    return None if waiting is None else _take(study, waiting)


def _of_search(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    budget: Budget,
    forecast: Forecast | None,
    *,
    is_last: bool = True,
) -> optuna.Trial | None:
    """Asks for a trial, if the budget has room for one.

    Args:
        study: the study.
        trials: those that may be asked for, and that count.
        budget: how many there may be.
        forecast: knows how long they take, and the time that is left.
        is_last: whether nothing follows, so that a trial is begun even if it will not end in time.

    Raises:
        OutOfTime: none would come far enough.
    """
    tally = Tally.of(trials)
    if not budget.has_room(tally):
        return None
    if not budget.has_room_for_any(tally):
        return _ask_for_asked(study, trials, forecast)
    return _first(study, trials) if forecast is None else _ask(study, trials, tally, budget, forecast, is_last=is_last)


def _ask_for_asked(
    study: optuna.Study, trials: Sequence[FrozenTrial], forecast: Forecast | None
) -> optuna.Trial | None:
    """Asks for one of the waiting trials that somebody asked for, which the budget in trials does not pay for."""
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING and is_asked(trial)]
    if forecast is None or forecast.left_s is None:
        return _take(study, waiting[0])
    forecast.learn(trials)
    if not forecast.is_reliable:
        return _take(study, waiting[0])
    for far_enough in (forecast.whole_of, forecast.useful_reach_of):
        for trial in waiting:
            if forecast.reach_of(trial) >= far_enough(trial):
                return _take(study, trial)
    raise OutOfTime


def _ask(
    study: optuna.Study,
    trials: Sequence[FrozenTrial],
    tally: Tally,
    budget: Budget,
    forecast: Forecast,
    *,
    is_last: bool,
) -> optuna.Trial | None:
    """Asks for a trial that the rest of the time holds: one that waits, in its turn, else a new one, drawn for it.

    Where none would come to its end, one that comes far enough to be of use to a longer run, if nothing follows.
    """
    forecast.learn(trials)
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    if budget.queued_only and 0 < len(waiting) <= _LAST_TRIALS * (tally.running + 1) and tally.running:
        # All of them run, in whatever order: the shorter the last one, the shorter do the others' cores idle.
        waiting.sort(key=lambda trial: -(forecast.rest_s(trial) or 0.0))
    elif forecast.left_s is None:
        return _first(study, trials)
    if not forecast.is_reliable:
        return _take(study, waiting[0] if waiting else None)
    for trial in waiting:
        if forecast.reach_of(trial) >= forecast.whole_of(trial):
            return _take(study, trial)
    drawn = -1.0
    if not budget.queued_only and isinstance(study.sampler, FeasibleSampler):
        drawn = study.sampler.propose(study, forecast.reach, forecast.whole)
        if drawn >= forecast.whole:
            return _take(study, None)
    for trial in waiting if is_last else []:
        if forecast.reach_of(trial) >= forecast.useful_reach_of(trial):
            return _take(study, trial)
    if is_last and drawn >= forecast.useful:
        return _take(study, None)
    raise OutOfTime


def _first(study: optuna.Study, trials: Sequence[FrozenTrial]) -> optuna.Trial | None:
    """Asks for the first of these trials that waits, else for a new one."""
    return _take(study, next((trial for trial in trials if trial.state == TrialState.WAITING), None))


def _take(study: optuna.Study, waiting: FrozenTrial | None) -> optuna.Trial | None:
    """Does what `study.ask` does, for a trial of our choice of those that wait, or a new one although some wait.

    Returns:
        The trial, or None if a worker on another machine took it a moment ago, or has ended it since.
    """
    study._thread_local.cached_all_trials = None
    if waiting is None:
        trial_id = study._storage.create_new_trial(study._study_id)
    else:
        trial_id = waiting._trial_id
        try:
            if not study._storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return None
        except UpdateFinishedTrialError:
            return None
    return optuna.Trial(study, trial_id)


def release(study: optuna.Study, trial: optuna.Trial) -> None:
    """Puts a running trial back into the queue: the next to ask gets it, its number and parameters unchanged."""
    # Optuna has no public call for this; it takes up a waiting trial with parameters as it does an enqueued one.
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
