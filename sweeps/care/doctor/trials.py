"""Checks of a study's trials in Optuna's storage: every one has ended, or waits, or a living worker has it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sweeps.care.doctor.findings import Finding
from sweeps.care.doctor.scene import Scene
from sweeps.study.claims import queue_lock
from sweeps.study.recovery import add_successor, recover, withdraw
from sweeps.study.storage import origin_of

__all__ = ["check_chains", "check_folders", "check_workers"]

_CHECK = "trials"
_GOES_ON = "it is queued again, and goes on from its checkpoint"


def check_workers(scene: Scene) -> list[Finding]:
    """Finds trials that are called running, though their worker is dead."""
    return [
        Finding(
            _CHECK,
            f"trial {origin_of(trial)}",
            "it is called running, but its worker is dead",
            _GOES_ON if _has_parameters(trial) else "it is ended: it had not come to its parameters",
            partial(recover, scene.study, scene.paths),
        )
        for trial in scene.dead
    ]


def check_chains(scene: Scene) -> list[Finding]:
    """Finds trials that nobody goes on with, and such that two attempts go on with."""
    ends: dict[int, list[FrozenTrial]] = {}
    followed = set()
    for trial in scene.attempts:
        history = trial.system_attrs.get("retry_history")
        if history and not trial.user_attrs.get("withdrawn"):
            followed.add(history[-1])
        if not trial.user_attrs.get("requeued"):
            ends.setdefault(origin_of(trial), []).append(trial)
    found: list[Finding] = []
    for trial in scene.attempts:
        if _is_lost(trial) and trial.number not in followed and origin_of(trial) not in ends:
            found.append(
                Finding(
                    _CHECK,
                    f"trial {origin_of(trial)}",
                    "it was to be tried again, but no attempt was queued",
                    "it is queued again",
                    partial(_requeue, scene, trial),
                )
            )
    for number, trials in ends.items():
        if len(trials) < 2:
            continue
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        spare = waiting if len(waiting) < len(trials) else waiting[1:]
        found += [
            Finding(
                _CHECK,
                f"trial {number}",
                f"attempt {trial.number} waits to go on with it, though another one does",
                f"attempt {trial.number} is withdrawn",
                partial(_withdraw, scene, trial),
            )
            for trial in spare
        ]
        ended = sum(trial.state.is_finished() for trial in trials)
        if ended > 1:
            found.append(
                Finding(
                    _CHECK,
                    f"trial {number}",
                    f"{ended} attempts at it ended",
                    "what has ended cannot be changed; it is counted so often",
                    is_note=True,
                )
            )
    return found


def check_folders(scene: Scene) -> list[Finding]:
    """Finds folders of trials that the storage does not know: a new trial of that number would go on with them."""
    if not scene.paths.identity.exists():
        return []  # nothing says whose folders these are
    known = {origin_of(trial) for trial in scene.attempts}
    strays = [path for path in scene.folders() if int(path.name) not in known and int(path.name) not in scene.busy]
    return [
        Finding(
            "folders",
            f"trials/{path.name}",
            "it belongs to no trial of this storage",
            f"it is moved to {_aside(scene, path).relative_to(scene.paths.folder)}",
            partial(_move_aside, scene, path),
        )
        for path in strays
        if any(name != "lock" for name in os.listdir(path))
    ]


def _is_lost(trial: FrozenTrial) -> bool:
    """Says whether an attempt should have a successor: it was marked so, and there is something to go on with."""
    attrs = trial.user_attrs
    if not attrs.get("requeued") or attrs.get("withdrawn") or not trial.state.is_finished():
        return False
    return _has_parameters(trial)


def _has_parameters(trial: FrozenTrial) -> bool:
    """Says whether an attempt had come so far, or was queued with some, that another one can go on with it."""
    return "label" in trial.user_attrs or bool(trial.system_attrs.get("fixed_params"))


def _requeue(scene: Scene, trial: FrozenTrial) -> None:
    with queue_lock(scene.paths):
        add_successor(scene.study, trial, {})  # unless there is one


def _withdraw(scene: Scene, trial: FrozenTrial) -> None:
    with queue_lock(scene.paths):
        withdraw(scene.study, trial._trial_id)


def _aside(scene: Scene, path: Path) -> Path:
    """Returns where a folder is moved to: a place that is free."""
    place, number = scene.paths.folder / "strays" / path.name, 1
    while place.exists():
        number += 1
        place = place.with_name(f"{path.name}.{number}")
    return place


def _move_aside(scene: Scene, path: Path) -> None:
    with queue_lock(scene.paths):
        if int(path.name) in {origin_of(trial) for trial in scene.study.get_trials(deepcopy=False)}:
            return  # a worker asked for this very trial just now: it is in use
        place = _aside(scene, path)
        place.parent.mkdir(exist_ok=True)
        os.replace(path, place)
