"""Attempts at a trial that ended before the trial did, and the attempt that goes on with it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.paths import StudyPaths
from sweeps.study.checkpoints import keep_last, remove
from sweeps.study.claims import queue_lock
from sweeps.study.lineage import ARM
from sweeps.study.liveness import Owner, buried, is_dead, stale_trials
from sweeps.study.locks import FileLock
from sweeps.study.storage import origin_of
from sweeps.tracking.events import EVENTS, TrialLog

__all__ = ["MAX_LOSSES", "MAX_RETRIES", "add_successor", "fail", "recover", "settle_checkpoints", "withdraw"]

#: How often a trial is tried again after an exception before it ended one more epoch.
MAX_RETRIES = 2
#: How often a trial is tried again whose worker died before it ended one more epoch: it may be what kills them.
MAX_LOSSES = 10


def recover(study: optuna.Study, paths: StudyPaths, *, patience_s: float = 0.0) -> list[int]:
    """Queues again every running trial whose worker is dead.

    Killed at any moment, it is done to the end by the next call. Workers of several machines may call it at once.

    Args:
        study: the study.
        paths: its paths.
        patience_s: how long to wait for trials of workers who are leaving, as the process that started them is gone.

    Returns:
        The numbers (those the trials began under) of what was queued again.
    """
    deadline = time.monotonic() + patience_s
    recovered: list[int] = []
    while True:
        leaving = False
        with queue_lock(paths):
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            stale = stale_trials(study) if running else None
            for trial in running:
                lock = FileLock(paths.trial(origin_of(trial)) / "lock")
                owner = Owner.read(lock.path)
                if not lock.acquire():
                    leaving |= owner is not None and owner.is_leaving
                    continue
                try:
                    if is_dead(study, trial, owner, stale):
                        lock.note(
                            Owner.me(buried(trial.number)).text()
                        )  # should it wake up, it finds that the trial is not its own
                        recovered += _bury(study, trial, paths)
                finally:
                    lock.release()
        if not leaving or time.monotonic() >= deadline:
            return recovered
        time.sleep(0.05)


def fail(study: optuna.Study, trial: optuna.Trial, paths: StudyPaths) -> None:
    """Ends an attempt that raised an exception as failed, and queues another one if there were few so far.

    One that ended another epoch does not count: trials that come on end, even if something fails now and then.
    """
    with queue_lock(paths):
        frozen = study._storage.get_trial(trial._trial_id)
        progress = _progress(frozen)
        failures = int(frozen.user_attrs.get("failures", 0)) + (progress <= frozen.user_attrs.get("progress", -1))
        added = None
        if failures <= MAX_RETRIES:
            added = _requeue(study, frozen, {"failures": failures, "progress": progress})
        study.tell(trial, state=TrialState.FAIL)
        _leave_one(study, frozen, added)


def settle_checkpoints(study: optuna.Study, paths: StudyPaths) -> None:
    """Puts away the checkpoints of trials that ended, where a kill came before the worker could."""
    left = {int(path.parent.name) for path in paths.trials.glob("[0-9]*/checkpoint*.npz")}
    if not left:
        return
    for trial in study.get_trials(deepcopy=False):
        if origin_of(trial) in left and trial.state.is_finished() and not trial.user_attrs.get("requeued"):
            end = remove if trial.state == TrialState.FAIL else keep_last
            end(paths.trial(origin_of(trial)))


def _bury(study: optuna.Study, trial: FrozenTrial, paths: StudyPaths) -> list[int]:
    """Ends a dead attempt. Returns the trial's number if another attempt goes on with it."""
    trial = study._storage.get_trial(trial._trial_id)
    if trial.state != TrialState.RUNNING:  # it ended while nobody held the queue
        return []
    progress = _progress(trial)
    losses = 0 if progress > trial.user_attrs.get("progress", -1) else int(trial.user_attrs.get("losses", 0)) + 1
    added, reason = None, None
    try:
        if losses <= MAX_LOSSES:
            added = _requeue(study, trial, {"losses": losses, "progress": progress})
        else:
            reason = f"its worker died {losses} times"
            study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        _record(paths.trial(origin_of(trial)), reason)
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):  # somebody on another machine was faster
        was_ended = True
    else:
        was_ended = False
    stays = _leave_one(study, trial, added)
    return [origin_of(trial)] if stays and not was_ended else []


def _leave_one(study: optuna.Study, trial: FrozenTrial, added: int | None) -> bool:
    """Takes a successor back if it is not the first. Returns whether it stays.

    Another machine may have been faster; or a database committed one, but its answer was lost, and it was made again.
    """
    if added is not None and _successor(study, trial) != added:
        withdraw(study, added)
        return False
    return added is not None


def _progress(trial: FrozenTrial) -> int:
    """Returns the last epoch that an attempt reported, those of the attempts before it included."""
    return max(trial.intermediate_values, default=-1)


def _record(folder: Path, reason: str | None) -> None:
    """Records in a dead attempt's events that its run waits, or, with a reason, that it failed."""
    if not (folder / EVENTS).exists():
        return
    with TrialLog(folder) as log:
        if log.state == "running":
            if reason is None:
                log.stop("its worker died")
            else:
                log.end("FAIL", reason=reason)


def _requeue(study: optuna.Study, trial: FrozenTrial, attributes: dict[str, Any]) -> int | None:
    """Adds the attempt that goes on with a trial; before the old one is ended, so that a kill in between loses none.

    Returns:
        Its id; None if there was nothing to go on with: the old attempt had not got as far as its parameters.
    """
    study._storage.set_trial_user_attr(trial._trial_id, "requeued", True)
    return add_successor(study, trial, attributes)


def add_successor(study: optuna.Study, trial: FrozenTrial, attributes: dict[str, Any]) -> int | None:
    """Queues the attempt that goes on with one that is marked as `requeued`, unless there is one.

    Returns:
        Its id; None if the old attempt had not got as far as its parameters, and nobody chose any for it.
    """
    is_whole = "label" in trial.user_attrs  # which is set once all parameters are
    params = trial.params if is_whole else trial.system_attrs.get("fixed_params", {})
    if not is_whole and not params and not any(trial.user_attrs.get(name) for name in ("overrides", "asked", ARM)):
        return None
    if (known := _successor(study, trial)) is not None:  # one that a kill kept from ending the old one
        return known
    template = create_trial(
        state=TrialState.WAITING,
        params=params if is_whole else None,
        distributions=trial.distributions if is_whole else None,
        intermediate_values=trial.intermediate_values,
        user_attrs=_inherited(trial) | attributes,
        system_attrs={
            "fixed_params": dict(params),
            "retry_history": [*trial.system_attrs.get("retry_history", []), trial.number],
        },
    )
    return study._storage.create_new_trial(study._study_id, template_trial=template)


def _successor(study: optuna.Study, trial: FrozenTrial) -> int | None:
    for other in study.get_trials(deepcopy=False):
        if other.system_attrs.get("retry_history", [])[-1:] == [trial.number] and not other.user_attrs.get("withdrawn"):
            return other._trial_id
    return None


def withdraw(study: optuna.Study, trial_id: int) -> None:
    """Takes back a successor, if nobody has begun it."""
    storage = study._storage
    with contextlib.suppress(UpdateFinishedTrialError):
        if storage.get_trial(trial_id).state == TrialState.WAITING:
            storage.set_trial_user_attr(trial_id, "withdrawn", True)
            storage.set_trial_user_attr(trial_id, "requeued", True)
            storage.set_trial_state_values(trial_id, TrialState.FAIL)


def _inherited(trial: FrozenTrial) -> dict[str, Any]:
    attributes = {key: value for key, value in trial.user_attrs.items() if key not in ("requeued", "reason")}
    return attributes | {"origin": origin_of(trial)}
