"""The study's own run in MLflow: the parent of its trials' runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from mnistnn.errors import OutputError
from sweeps import provenance
from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.budget import Tally
from sweeps.tracking.environment import environment_tags
from sweeps.tracking.events import EVENTS, STATES, TrialLog
from sweeps.tracking.notes import study_note
from sweeps.workers import study_page

__all__ = ["StudyLog", "log_fork"]

_PICTURES = "pictures"  # where MLflow shows them


class StudyLog:
    """Records a study's beginning, its best trial as it improves, and its end.

    Args:
        config: the study.
        paths: its paths.
        tags: of the run.
        inputs: its data sets.
    """

    def __init__(
        self,
        config: StudyConfig,
        paths: StudyPaths,
        tags: Mapping[str, str],
        inputs: Sequence[Mapping[str, Any]],
    ) -> None:
        self._log = TrialLog(paths.parent)
        self._name, self._paths = config.name, paths
        budget, metric = config.budget, str(config.metric)
        if config.validation_shift:
            metric += f", mean of plain and shifted by up to {config.validation_shift} pixels"
        params = {
            "metric": metric,
            "sampler": config.sampler.type,
            "pruner": config.pruner.type,
            "epochs": budget.epochs,
            "budget_trials": budget.trials,
            "budget_s": budget.time_s,
            "seed": config.seed,
        }
        facts = {
            "metric": metric,
            "budget": study_page.budget_text(config),
            "epochs of a trial": budget.epochs,
            "final stage": study_page.final_text(config),
            "sampler": config.sampler.type,
            "pruner": config.pruner.type,
            "baselines": ", ".join(config.baselines) or None,
            "seed": config.seed,
            "data": tags.get("data"),
        }
        known = {name: value for name, value in params.items() if value is not None}
        note = study_note(config.name, facts, provenance.commit())
        is_new = self._log.start(f"study {config.name}", known, tags, inputs, note=note)
        page = study_page.first_page(config, facts, provenance.commit())
        if not is_new:
            page.pop(study_page.heading(config.name))  # which names the best trial by now
        self._log.experiment(study_page.page_views(config), page)

    def best(self, tally: Tally, trial: FrozenTrial) -> None:
        """Records a new best trial, as a point of the curve over the trials that finished, and in the note."""
        attributes = trial.user_attrs
        self._log.epoch(
            tally.ended,
            # Not named as a trial's results are: MLflow's table of trials would rank the study among them.
            {"best_so_far_loss": attributes.get("val_loss"), "best_so_far_accuracy": attributes.get("val_accuracy")},
        )
        self._log.experiment({}, study_page.winner(self._name, self._paths, trial))

    def stop(self, reason: str) -> None:
        """Records that the study waits to be gone on with."""
        self._log.experiment({}, study_page.stopped(reason))
        self._log.stop(reason)

    @classmethod
    def end_if_open(cls, paths: StudyPaths, tally: Tally, seconds: float) -> None:
        """Records the end of a study that was killed between the end of its budget and the record of it."""
        if not (paths.parent / EVENTS).exists():
            return
        with TrialLog(paths.parent) as log:
            if log.state not in STATES:
                _end(log, tally, seconds)

    def attach(self, names: Sequence[str]) -> None:
        """Records that files in the run's folder are pictures of the study."""
        for name in names:
            self._log.artifact(name, _PICTURES)

    @staticmethod
    def attach_to(paths: StudyPaths, names: Sequence[str]) -> None:
        """Does what `attach` does for a study whose own run has been recorded before, if it was."""
        if (paths.parent / EVENTS).exists():
            with TrialLog(paths.parent) as log:
                for name in names:
                    log.artifact(name, _PICTURES)

    def end(self, tally: Tally, seconds: float) -> None:
        """Records that the study's budget is used up."""
        _end(self._log, tally, seconds)

    def __enter__(self) -> StudyLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:  # it does not hang as running for ever
            with contextlib.suppress(OSError, OutputError):
                self._log.stop(type(error).__name__)
        self._log.close()


def _end(log: TrialLog, tally: Tally, seconds: float) -> None:
    log.experiment({}, study_page.result(tally, seconds))
    log.end(
        "COMPLETE",
        metrics={
            "trials_complete": tally.complete,
            "trials_pruned": tally.pruned,
            "trials_failed": tally.failed,
            "seconds": round(seconds, 1),
        },
    )


def log_fork(config: StudyConfig, paths: StudyPaths, trials: Sequence[FrozenTrial], *, source: StudyPaths) -> None:
    """Records the beginning of a study that was forked, so that its imported trials' runs come under its own run.

    It is about the data of the study that it was forked from. Where that one has no run, there is nothing to tell.

    Args:
        config: the study.
        paths: its paths.
        trials: what it has.
        source: the paths of the study that it was forked from.
    """
    begun = TrialLog.first_start(source.parent)
    if begun is None:
        return
    own = {"study": config.name, "config_hash": config.hash, "seed": str(config.seed)}
    tags = {**begun["tags"], **environment_tags(), **own, "forked_from": source.folder.name}
    with StudyLog(config, paths, tags, begun["inputs"]) as log:
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
        if complete:
            best = max if config.direction == "maximize" else min
            log.best(Tally.of(trials), best(complete, key=lambda trial: trial.value or 0.0))
        log.stop("forked")
