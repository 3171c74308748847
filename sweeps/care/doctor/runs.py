"""Checks of a study's runs in MLflow: one for each trial, in the state of its trial, and no others."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial

from sweeps.care.doctor.events import wrong_with
from sweeps.care.doctor.findings import Finding
from sweeps.care.doctor.records import end_metrics
from sweeps.care.doctor.scene import METRICS, Scene
from sweeps.care.doctor.told import Told
from sweeps.tracking.cursor import CURSOR
from sweeps.tracking.inspect import RunStore, SeenRun
from sweeps.tracking.runs import STATUS
from sweeps.tracking.wire import rounded

__all__ = ["check_lost", "check_orphans", "check_states"]

_CHECK = "runs"
_STATUS = {"running": "RUNNING", "waiting": "SCHEDULED"} | STATUS
_WITH_RESULTS = ("COMPLETE", "PRUNED")


def check_lost(scene: Scene) -> list[Finding]:
    """Finds folders whose run is gone from MLflow, and tells of those that somebody deleted there."""
    found: list[Finding] = []
    for name, folder, told, _ in _delivered(scene):
        run = scene.runs.get(told.cursor.run_id or "")
        if run is None and told.key:
            wrong, remedy = "MLflow does not have its run any more", "all of its events are delivered again"
            found.append(Finding(_CHECK, name, wrong, remedy, partial(_forget, folder)))
        elif run is not None and run.is_deleted:
            wrong, remedy = "its run was deleted in MLflow", "`mlflow runs restore` brings it back"
            found.append(Finding(_CHECK, name, wrong, remedy, is_note=True))
    return found


def check_states(scene: Scene) -> list[Finding]:
    """Finds runs that show another state, or other results, than their trials have."""
    store = scene.store
    found: list[Finding] = []
    for name, folder, told, trial in _delivered(scene):
        run = scene.runs.get(told.cursor.run_id or "")
        if store is None or run is None or run.is_deleted or told.last is None:
            continue
        wanted = _STATUS.get(told.state)
        if wanted is not None and run.status != wanted:
            wrong = f"its run is {run.status} in MLflow, but should be {wanted}"
            found.append(
                Finding(_CHECK, name, wrong, "it is set so", partial(store.resend, folder, told.last, scene.say))
            )
        odd = {} if trial is None or trial.state.name not in _WITH_RESULTS else _odd_metrics(trial, run)
        if odd:
            wrong = f"its run shows another {', '.join(odd)} than the trial has"
            found.append(Finding(_CHECK, name, wrong, "the trial's is set", partial(_set, store, run, odd)))
    return found


def check_orphans(scene: Scene) -> list[Finding]:
    """Finds runs that no folder of this study goes with: second ones, and those of trials that are not there."""
    store = scene.store
    if store is None:
        return []
    folders = [*scene.folders(), *scene.others()]
    ours = {told.cursor.run_id for folder in folders if (told := scene.told(folder)).cursor.store == store.identity}
    keys = {told.key: told for folder in folders if (told := scene.told(folder)).key}
    parent = scene.told(scene.paths.parent).cursor.run_id
    known = {str(number) for number in scene.trials}
    found: list[Finding] = []
    earlier = 0
    for run in scene.runs.values():
        if run.is_deleted or run.run_id in ours or run.trial in {str(number) for number in scene.busy}:
            continue
        name = f"run {run.run_id[:8]} ({run.name})"
        if run.key in keys:
            told = keys[run.key]
            mine = scene.runs.get(told.cursor.run_id or "")
            if told.is_pending(store.identity) or mine is None or mine.is_deleted:
                continue  # this may be the one that its events are about to go to, or that somebody chose to keep
            found.append(_delete(scene, store, run, name, "MLflow has two runs of one key; no events go to this one"))
        elif run.trial and parent and run.parent == parent:
            wrong = "it is a second run of its trial" if run.trial in known else "its trial is not there"
            if run.trial in known and not scene.told(scene.paths.trial(int(run.trial))).key:
                continue  # that trial's record is lost, and will be made for this run
            found.append(_delete(scene, store, run, name, wrong))
        else:
            earlier += 1
    if earlier:
        wrong = f"{earlier} of MLflow's runs belong to another folder of a study called so"
        found.append(Finding(_CHECK, "the study", wrong, "they may be an earlier one's", is_note=True))
    return found


def _delivered(scene: Scene) -> Iterator[tuple[str, Path, Told, FrozenTrial | None]]:
    """Yields the folders that are at rest, whose events MLflow has all been told."""
    if scene.store is None:
        return
    for number, trial, folder in scene.idle():
        told = scene.told(folder)
        if told.has_events and not told.is_pending(scene.identity) and wrong_with(trial, told) is None:
            yield f"trial {number}", folder, told, trial
    for folder in scene.others():
        told = scene.told(folder)
        is_own = folder == scene.paths.parent
        is_wrong = bool(told.damaged) or (is_own and (scene.is_running or told.state == "running"))
        if told.has_events and not told.is_pending(scene.identity) and not is_wrong:
            yield "the study's own" if is_own else f"ensemble/{folder.name}", folder, told, None


def _odd_metrics(trial: FrozenTrial, run: SeenRun) -> dict[str, float]:
    """Returns the results that a run should show and does not."""
    known = {name: value for name, value in end_metrics(trial).items() if name in METRICS and math.isfinite(value)}
    wanted = {name: rounded(value) for name, value in known.items()}  # as it was sent; once it was less
    return {
        name: value
        for name, value in wanted.items()
        if (shown := run.metrics.get(name)) is None or not math.isfinite(shown) or rounded(shown) != value
    }


def _set(store: RunStore, run: SeenRun, values: dict[str, float]) -> None:
    store.set_metrics(run.run_id, values, time.time_ns() // 1_000_000)


def _forget(folder: Path) -> None:
    """Lets the events be delivered from their start."""
    (folder / CURSOR).unlink(missing_ok=True)


def _delete(scene: Scene, store: RunStore, run: SeenRun, name: str, wrong: str) -> Finding:
    if scene.is_running:
        return Finding(_CHECK, name, wrong, "stop the `run` first")
    remedy = "it is deleted; `mlflow runs restore` could bring it back"
    return Finding(_CHECK, name, wrong, remedy, partial(store.delete, run.run_id))
