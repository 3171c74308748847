"""What the parent sees of a study while others work on it."""

from __future__ import annotations

import time
from datetime import datetime

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.config.duration import clock
from sweeps.paths import StudyPaths
from sweeps.study.budget import Budget, Clock, Tally
from sweeps.study.forecast import EPOCH_S, EPOCH_S_ESTIMATE
from sweeps.study.lineage import is_final, shown_label, total_epochs
from sweeps.study.storage import origin_of
from sweeps.tracking.tail import EpochTail
from sweeps.views.progress import RunningTrial

__all__ = ["Outlook"]


class Outlook:
    """Follows a study: what ended, what is best, how much is left.

    Args:
        study: the study.
        budget: what it may take.
        time_of: its seconds.
        timeout_s: what this call may take.
        epochs: of a trial.
        paths: where trials write their events, which say more of a running one than the study does.
    """

    def __init__(
        self,
        study: optuna.Study,
        budget: Budget,
        time_of: Clock,
        timeout_s: float | None,
        epochs: int = 1,
        paths: StudyPaths | None = None,
    ) -> None:
        self.tally = Tally()
        self.best: FrozenTrial | None = None
        self.failures_in_a_row = 0
        self._study, self._budget, self._clock, self._timeout_s = study, budget, time_of, timeout_s
        self._epochs, self._paths = epochs, paths
        self._tails: dict[int, EpochTail] = {}
        self._seen: set[int] = set()
        self._running: dict[int, FrozenTrial] = {}
        self._marks: dict[int, tuple[int, float]] = {}  # when a trial was first seen with so many epochs done
        self.look()
        self._ended_before = self.tally.finished if budget.only is None else self.tally.ended
        self.failures_in_a_row = 0  # of this call

    @property
    def is_new(self) -> bool:
        """Whether nothing has ended yet of what the call is about."""
        return not (self._seen if self._budget.only is None else self.tally.ended)

    def is_spent(self) -> bool:
        """Says whether the study's budget is used up."""
        return self._budget.is_spent(self.tally, self._clock.total_s)

    def is_timed_out(self) -> bool:
        """Says whether this call's time is over."""
        return self._timeout_s is not None and self._clock.call_s >= self._timeout_s

    @property
    def share(self) -> float:
        """The part of the budget that is used."""
        return self._budget.share(self.tally, self._clock.total_s)

    @property
    def left_s(self) -> float | None:
        """How long it will take: the time that is left, or by the pace of this call; None where neither is known."""
        left = []
        if self._timeout_s is not None:
            left.append(self._timeout_s - self._clock.call_s)
        if (time_left := self._budget.left_s(self._clock.total_s)) is not None:
            left.append(time_left)
        only, tally = self._budget.only, self.tally
        total, ended = (self._budget.total(tally), tally.finished) if only is None else (len(only), tally.ended)
        if self._budget.final is not None:  # whose members take longer than the trials that the pace is of
            total = None
        done = ended - self._ended_before
        if total is not None and done:
            left.append((total - ended) * self._clock.call_s / done)
        return min(left, default=None)

    @property
    def standing(self) -> str:
        """How the study stands, in words."""
        tally = self.tally
        parts = [f"{tally.complete} trial{'s' if tally.complete != 1 else ''} complete, {tally.pruned} pruned"]
        parts += [f"{tally.failed} failed"] if tally.failed else []
        parts += [f"{tally.waiting} waiting"] if tally.waiting else []
        return f"{', '.join(parts)} in {clock(self._clock.total_s)}"

    @property
    def running(self) -> list[RunningTrial]:
        """The trials that run, as far as they are known: one that was just asked for has no label yet."""
        return [self._progress_of(trial) for trial in self._running.values() if "label" in trial.user_attrs]

    def _progress_of(self, trial: FrozenTrial) -> RunningTrial:
        done, since = self._marks[trial.number]
        tail = self._tails.get(trial.number)
        epoch_s = _epoch_s_of(trial)
        epochs, left_s = total_epochs(trial, self._epochs), None
        if epoch_s is not None:
            spent_s = time.monotonic() - since  # on the epoch that it is at
            left_s = max(0.0, (epochs - done) * epoch_s - spent_s)
            if spent_s > epoch_s and done < epochs:  # it takes longer than was thought, and those after it will too
                left_s = (epochs - done - 1) * spent_s or None
        return RunningTrial(
            number=origin_of(trial),
            label=shown_label(trial, trial.user_attrs["label"]),
            epochs=epochs,
            done=done,
            epoch_s=epoch_s,
            left_s=left_s,
            val_accuracy=None if tail is None else tail.val_accuracy,
            images_per_s=None if tail is None else tail.images_per_s,
        )

    def look(self) -> list[tuple[FrozenTrial, bool]]:
        """Reads what is new in the storage.

        Returns:
            The attempts that ended since the last look, in the order of their ends, and whether each is the best.
        """
        trials = self._study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in self._seen]
        ended.sort(key=lambda trial: trial.datetime_complete or datetime.min)
        news = []
        for trial in ended:
            self._seen.add(trial.number)
            is_best = self._is_better(trial)
            if is_best:
                self.best = trial
            failed = trial.state == TrialState.FAIL and "reason" in trial.user_attrs  # without one, its worker died
            self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0
            news.append((trial, is_best))
        self.tally = self._budget.tally(trials)
        self._running = {trial.number: trial for trial in trials if trial.state == TrialState.RUNNING}
        self._follow()
        return news

    def _follow(self) -> None:
        """Looks how far the running trials have come."""
        now = time.monotonic()
        self._tails = {number: tail for number, tail in self._tails.items() if number in self._running}
        for number, trial in self._running.items():
            done, since = max(trial.intermediate_values, default=0), now
            if self._paths is not None:
                if number not in self._tails:
                    self._tails[number] = EpochTail(self._paths.trial(origin_of(trial)))
                tail = self._tails[number].look()
                # It may have ended long before this look, which is the first of this process. No clock is trusted so
                # far that it could tell more than an epoch.
                done = max(done, tail.epoch)
                ago_s = time.time() - tail.time_ms / 1000
                since -= min(max(0.0, ago_s), _epoch_s_of(trial) or 0.0) if tail.time_ms else 0.0
            if self._marks.get(number, (-1, now))[0] != done:
                self._marks[number] = done, since

    def _is_better(self, trial: FrozenTrial) -> bool:
        if trial.state != TrialState.COMPLETE or trial.value is None or is_final(trial):
            return False  # a member of the final stage saw more images, and is judged by others
        if self.best is None or self.best.value is None:
            return True
        if self._study.direction == StudyDirection.MAXIMIZE:
            return trial.value > self.best.value
        return trial.value < self.best.value


def _epoch_s_of(trial: FrozenTrial) -> float | None:
    """Returns the seconds of a trial's epoch, as observed, else as estimated."""
    known: float | None = trial.user_attrs.get(EPOCH_S, trial.user_attrs.get(EPOCH_S_ESTIMATE))
    return known
