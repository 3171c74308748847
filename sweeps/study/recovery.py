"""Attempts at a trial that ended before the trial did, and the attempt that goes on with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.paths import StudyPaths
from sweeps.study.claims import FileLock, queue_lock
from sweeps.study.storage import origin_of
from sweeps.tracking.events import EVENTS, TrialLog

__all__ = ["MAX_RETRIES", "fail", "recover"]

#: How often a trial is tried again after an exception.
MAX_RETRIES = 2
#: How often a trial is tried again whose worker died before it ended one more epoch: it may be what kills them.
MAX_LOSSES = 10


def recover(study: optuna.Study, paths: StudyPaths, *, patience_s: float = 0.0) -> list[int]:
    """Queues again every running trial whose worker is dead: who can take a trial's lock knows that.

    Killed at any moment, it is done to the end by the next call.

    Args:
        study: the study.
        paths: its paths.
        patience_s: how long to wait for trials that are still held, by workers who are leaving.

    Returns:
        The numbers (those the trials began under) of what was queued again.
    """
    deadline = time.monotonic() + patience_s
    recovered: list[int] = []
    while True:
        held = False
        with queue_lock(paths):
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                lock = FileLock(paths.trial(origin_of(trial)) / "lock")
                if not lock.acquire():
                    held = True
                    continue
                try:
                    recovered += _bury(study, trial, paths)
                finally:
                    lock.release()
        if not held or time.monotonic() >= deadline:
            _remove_checkpoints(study, paths)
            return recovered
        time.sleep(0.1)


def fail(study: optuna.Study, trial: optuna.Trial, paths: StudyPaths) -> None:
    """Ends an attempt that raised an exception as failed, and queues another one if there were few so far."""
    failures = int(trial.user_attrs.get("failures", 0)) + 1
    with queue_lock(paths):
        frozen = study._storage.get_trial(trial._trial_id)
        if failures <= MAX_RETRIES:
            _requeue(study, frozen, {"failures": failures})
        study.tell(trial, state=TrialState.FAIL)


def _bury(study: optuna.Study, trial: FrozenTrial, paths: StudyPaths) -> list[int]:
    """Ends a dead attempt. Returns the trial's number if another attempt goes on with it."""
    trial = study._storage.get_trial(trial._trial_id)
    if trial.state != TrialState.RUNNING:  # it ended while nobody held the queue
        return []
    progress = max(trial.intermediate_values, default=-1)
    losses = 0 if progress > trial.user_attrs.get("progress", -1) else int(trial.user_attrs.get("losses", 0)) + 1
    if losses <= MAX_LOSSES:
        requeued = _requeue(study, trial, {"losses": losses, "progress": progress})
        reason = None
    else:
        requeued, reason = False, f"its worker died {losses} times"
        study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
    _record(paths.trial(origin_of(trial)), reason)
    study.tell(trial.number, state=TrialState.FAIL)
    return [origin_of(trial)] if requeued else []


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


def _requeue(study: optuna.Study, trial: FrozenTrial, attributes: dict[str, Any]) -> bool:
    """Adds the attempt that goes on with a trial; before the old one is ended, so that a kill in between loses none.

    Returns:
        False if there was nothing to go on with: the old attempt had not got as far as its parameters.
    """
    history = [*trial.system_attrs.get("retry_history", []), trial.number]
    is_whole = "label" in trial.user_attrs  # which is set once all parameters are
    params = trial.params if is_whole else trial.system_attrs.get("fixed_params", {})
    added = any(
        other.system_attrs.get("retry_history", [])[-1:] == [trial.number] for other in study.get_trials(deepcopy=False)
    )
    study._storage.set_trial_user_attr(trial._trial_id, "requeued", True)
    if not is_whole and not params:
        return False
    if not added:
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=params if is_whole else None,
                distributions=trial.distributions if is_whole else None,
                intermediate_values=trial.intermediate_values,
                user_attrs=_inherited(trial) | attributes,
                system_attrs={"fixed_params": dict(params), "retry_history": history},
            )
        )
    return True


def _remove_checkpoints(study: optuna.Study, paths: StudyPaths) -> None:
    """Removes the checkpoints of trials that ended, where a kill came before the worker could."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and not trial.user_attrs.get("requeued"):
            (paths.trial(origin_of(trial)) / "checkpoint.npz").unlink(missing_ok=True)


def _inherited(trial: FrozenTrial) -> dict[str, Any]:
    attributes = {key: value for key, value in trial.user_attrs.items() if key not in ("requeued", "reason")}
    return attributes | {"origin": origin_of(trial)}
