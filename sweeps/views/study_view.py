"""Looks at a study that others go on with. Nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Clock, Tally
from sweeps.study.liveness import Owner, is_dead, stale_trials
from sweeps.study.locks import is_held
from sweeps.study.lookup import config_of
from sweeps.study.storage import origin_of
from sweeps.study.validation import reported
from sweeps.tracking.cursor import pending_events
from sweeps.tracking.events import EVENTS
from sweeps.views.status import AtWork, Keeping, Queued, StudyStatus
from sweeps.views.trials import role_of
from sweeps.workers.outlook import Outlook

__all__ = ["StudyView", "worker_of"]


class StudyView:
    """Looks at a study again and again, as others go on with it.

    Args:
        study: opened to be read.
        paths: its paths.
    """

    def __init__(self, study: optuna.Study, paths: StudyPaths) -> None:
        self._study, self._paths = study, paths
        self.config: StudyConfig = config_of(study)
        self._budget = Budget.of(self.config)
        self._outlook: Outlook | None = None

    def look(self) -> StudyStatus:
        """Returns how it stands now."""
        elapsed_s = float(self._study.user_attrs.get("elapsed_s", 0.0))
        if self._outlook is None:
            self._outlook = Outlook(self._study, self._budget, Clock(0.0), None, self.config.budget.epochs, self._paths)
        else:
            self._outlook.look()
        outlook = self._outlook
        trials = self._study.get_trials(deepcopy=False)
        here = {origin_of(trial): trial for trial in trials if trial.state == TrialState.RUNNING}
        stale = stale_trials(self._study) if here else None
        workers = [
            AtWork(trial=trial, **worker_of(self._study, here[trial.number], self._paths, stale))
            for trial in outlook.running
            if trial.number in here
        ]
        waiting = [each for each in trials if each.state == TrialState.WAITING and not each.user_attrs.get("requeued")]
        return StudyStatus(
            study=self.config.name,
            metric=reported(self.config),
            keeping=_keeping(self._paths),
            tally=outlook.tally,
            budget=self._budget,
            elapsed_s=elapsed_s,
            left_s=self._left_s(outlook.tally, elapsed_s),
            best=outlook.best,
            workers=workers,
            queue=[_queued(trial) for trial in waiting],
            undelivered=_undelivered(self._paths.folder),
        )

    def _left_s(self, tally: Tally, elapsed_s: float) -> float | None:
        """Returns the time that is left, or how long the other trials take by the pace so far."""
        left = [] if self._budget.time_s is None else [max(0.0, self._budget.time_s - elapsed_s)]
        if self._budget.trials is not None and tally.finished and self._budget.final is None:
            left.append(max(0, self._budget.trials - tally.finished) * elapsed_s / tally.finished)
        return min(left, default=None)


def worker_of(study: optuna.Study, trial: FrozenTrial, paths: StudyPaths, stale: set[int] | None) -> dict[str, Any]:
    """Returns where the worker of a running trial is, and its process.

    Args:
        study: the study.
        trial: one of its running trials.
        paths: its paths.
        stale: what `stale_trials` gave.
    """
    lock = paths.trial(origin_of(trial)) / "lock"
    owner = Owner.read(lock)
    pid = None if owner is None or not owner.is_here else owner.pid
    if is_held(lock):
        return {"where": "here", "pid": pid}
    if is_dead(study, trial, owner, stale):
        return {"where": "dead", "pid": None}
    return {"where": "elsewhere", "pid": None}


def _queued(trial: FrozenTrial) -> Queued:
    origin = role_of(trial) or trial.user_attrs.get("label") or "drawn"
    if "point" in trial.user_attrs:
        origin = f"point {trial.user_attrs['point']} of the grid"
    return Queued(number=origin_of(trial), origin=origin, epoch=max(trial.intermediate_values, default=0))


def _keeping(paths: StudyPaths) -> Keeping | None:
    if not is_held(paths.lock):
        return None
    try:
        since, text = paths.lock.stat().st_mtime, paths.lock.read_text(errors="replace").strip()
    except OSError:
        return None
    return Keeping(pid=int(text) if text.isascii() and text.isdigit() else None, since=since)


def _undelivered(folder: Path) -> int:
    """Counts the events of the study's own run, its trials' and its ensembles'."""
    found = [path for pattern in ("*", "*/*") for path in folder.glob(f"{pattern}/{EVENTS}")]
    return sum(pending_events(path.parent) for path in found)
