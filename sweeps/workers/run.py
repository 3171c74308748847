"""One `run` of a study, or a worker that joins it: processes, clock and display, up to the last event."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import optuna
from optuna.trial import TrialState

from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Clock, Tally
from sweeps.study.recovery import recover, settle_checkpoints
from sweeps.study.storage import origin_of
from sweeps.study.validation import reported
from sweeps.views.progress import StudyProgress, clock
from sweeps.workers.delivery import Delivery
from sweeps.workers.executor import Executor
from sweeps.workers.keeper import Keeper
from sweeps.workers.order import Order
from sweeps.workers.outlook import Outlook
from sweeps.workers.signals import caught
from sweeps.workers.stages import describe_final, limits_text, why_left
from sweeps.workers.summary import RunSummary, cut_off

__all__ = ["Finish", "Run"]

#: Makes files, given the study, its paths, what takes a line to show, and what says whether they are still wanted.
#: It returns the names of those that are to be shown, which lie beside the events of the study's own run.
Finish: TypeAlias = Callable[[optuna.Study, StudyPaths, Callable[[str], object], Callable[[], bool]], Sequence[str]]

_TICK_S = 0.05
_LOOK_S = 0.5  # how often the study is looked at
_SAVE_S = 5.0  # how often the clock is saved
_LEAVING_S = 5.0  # how long the workers of a killed run get to leave
_SHIP_DELAY_S = 2.0  # MLflow is imported when the workers have begun to train
#: So many failures one after another end a run: nothing that works is being tried.
_MAX_FAILURES = 9


@dataclass(slots=True)
class Run:
    """A run, or a part of one that others have a part in too."""

    config: StudyConfig
    root: Path
    paths: StudyPaths
    study: optuna.Study
    whole: Budget  # the study's, and that of this call
    budget: Budget
    time_of: Clock
    pool: Executor
    order: Order
    uri: str
    timeout_s: float | None
    progress: StudyProgress
    keeper: Keeper
    finish: Finish | None
    signals: list[int] = field(default_factory=list)
    has_said_plan: bool = False  # of the final stage

    def go(self) -> RunSummary:
        """Returns how the study stands afterwards."""
        requeued = recover(self.study, self.paths, patience_s=_LEAVING_S)
        settle_checkpoints(self.study, self.paths)
        outlook = Outlook(self.study, self.budget, self.time_of, self.timeout_s, self.config.budget.epochs, self.paths)
        if outlook.is_spent():
            self.progress.note(f"study {self.config.name!r} has used up its budget: {outlook.standing}.")
            self._close("budget")
            if not any(self.paths.parent.glob("*.png")):  # a kill came before
                self._finish()
            undelivered = self._delivery().catch_up()
            return self._summary("complete", outlook, 0.0, self.time_of.used_s, undelivered)
        self._say_start(outlook, requeued)
        with caught(self.signals):
            self.keeper.look(self.order)
            self.pool.start()  # before anything slow: their start-up and ours overlap
            delivery = self._delivery(_SHIP_DELAY_S)
            delivery.start()
            try:
                stopped_by = self._watch(outlook)
            finally:
                self.pool.stop(is_urgent=lambda: len(self.signals) > 1)
                recover(self.study, self.paths)  # those of workers that had to be killed
                self._save()
            self._show(outlook)
            self._close(stopped_by)
            self.progress.close()
            call_s, total_s = self.time_of.call_s, self.time_of.total_s
            self._say_end(stopped_by, outlook)
            self._finish()
            undelivered = delivery.finish(self.signals, stopped_by)
        return self._summary(stopped_by, outlook, call_s, total_s, undelivered)

    def _watch(self, outlook: Outlook) -> str:
        """Watches the workers until there is a reason to stop; returns it."""
        looked = saved = time.monotonic()
        while True:
            if self.signals:
                return "signal"
            if outlook.is_timed_out():
                return "timeout"
            alive = self.pool.watch(lambda: recover(self.study, self.paths))
            now = time.monotonic()
            if now - looked >= _LOOK_S or not alive:
                looked = now
                self.keeper.look(self.order)
                self._show(outlook)
            if outlook.is_spent():
                return "budget"
            if self.budget.is_over(outlook.tally):
                return "trials"
            if outlook.failures_in_a_row >= _MAX_FAILURES:
                self.progress.warn(f"the last {outlook.failures_in_a_row} attempts failed; the run ends here.")
                return "failure"
            if not alive:
                left_s = self.budget.left_s(self.time_of.total_s)
                why = why_left(self.budget.final, outlook.tally, left_s)
                if left_s is not None and not self.pool.failed:  # each left when nothing more would have come far
                    self.progress.note(why)
                    self.time_of.write_off(left_s)
                    return "budget"
                for line in self.pool.failed or [why]:
                    self.progress.warn(line)
                return "failure"
            if now - saved >= _SAVE_S:
                saved = now
                self._save()
            time.sleep(_TICK_S)  # no waiting on a lock, which a signal's handler could not get past

    @property
    def _study_s(self) -> float:
        """The seconds of the study, which does not pay for trials beside its budget."""
        return self.time_of.total_s if self.budget.only is None else self.time_of.used_s

    def _save(self) -> None:
        self.keeper.save(self.study, self._study_s)

    def _close(self, stopped_by: str) -> None:
        """Ends the study's own run where the study's budget is used up; else it waits to be gone on with."""
        tally = Tally.of(self.study.get_trials(deepcopy=False))
        if self.whole.is_spent(tally, self._study_s):
            self.keeper.end(tally, self._study_s)
        else:
            self.keeper.stop(stopped_by)

    def _finish(self) -> None:
        """Has the files made that the study's own run is to show; the sweep is whole without them."""
        if self.finish is None or not self.keeper.is_keeping:
            return
        known = len(self.signals)
        try:
            names = self.finish(self.study, self.paths, self.progress.note, lambda: len(self.signals) == known)
            self.keeper.attach(names)
        except Exception as error:  # matplotlib's, Pillow's, a full disk
            reason = next(iter(str(error).splitlines()), "")
            self.progress.warn(f"the study was not drawn ({type(error).__name__}: {reason}).")

    def _show(self, outlook: Outlook) -> None:
        best = None
        for trial, is_best in outlook.look():
            if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs:
                continue  # of a worker that died, which was said then
            self.progress.ended(trial, is_best=is_best)
            best = trial if is_best else best
        if best is not None:  # the last of them: they share one point of the study's curve
            self.keeper.best(outlook.tally, best)
        has_begun = outlook.tally.members_running or outlook.tally.members  # quick ones have ended by now
        if self.budget.final is not None and has_begun and not self.has_said_plan:
            self.has_said_plan = True
            order, left_s = replace(self.order, workers=self.pool.count), self.budget.left_s(self.time_of.total_s)
            self.progress.note(describe_final(self.config, self.study, self.root, order, left_s))
        self.progress.update(
            outlook.tally, outlook.best, share=outlook.share, left_s=outlook.left_s, running=outlook.running
        )

    def _say_start(self, outlook: Outlook, requeued: list[int]) -> None:
        only = self.budget.only
        limits = (
            [f"{self.budget.trials if only is None else len(only)} trials"] if self.budget.trials is not None else []
        )
        limits += [clock(self.budget.time_s)] if self.budget.time_s is not None else []
        count, stages = self.pool.count, limits_text(self.budget)
        self.progress.note(
            f"study {self.config.name!r}: {' or '.join(limits) or self.config.ablation() or 'its whole grid'}{stages}, "
            f"{count} worker{'s' if count > 1 else ''}"
            + ("" if outlook.is_new else f"; goes on after {outlook.standing}")
        )
        if requeued:
            numbers = ", ".join(f"#{number:03d}" for number in requeued)
            self.progress.note(f"left behind by workers that died, and queued again: {numbers}")

    def _say_end(self, stopped_by: str, outlook: Outlook) -> None:
        if stopped_by == "budget":
            line = cut_off(self.study.get_trials(deepcopy=False), self.config.budget.epochs)
            if line is not None:
                self.progress.note(line)
        else:
            reason = {"timeout": "the timeout", "trials": "--trials"}.get(stopped_by, f"a {stopped_by}")
            self.progress.warn(
                f"study {self.config.name!r} was stopped by {reason}: {outlook.standing}. "
                "The same command goes on with it."
            )

    def _delivery(self, delay_s: float = 0.0) -> Delivery:
        return Delivery(self.uri, self.root, self.config.name, self.paths, self.progress.warn, delay_s)

    def _summary(
        self, stopped_by: str, outlook: Outlook, call_s: float, total_s: float, undelivered: int
    ) -> RunSummary:
        best, tally = outlook.best, outlook.tally
        return RunSummary(
            study=self.config.name,
            metric=reported(self.config),
            complete=tally.complete,
            pruned=tally.pruned,
            failed=tally.failed,
            waiting=tally.waiting,
            members=tally.members_complete,
            best_number=None if best is None else origin_of(best),
            best_value=None if best is None else best.value,
            best_val_accuracy=None if best is None else best.user_attrs.get("val_accuracy"),
            elapsed_s=call_s,
            total_s=total_s,
            undelivered=undelivered,
            stopped_by=stopped_by,
        )
