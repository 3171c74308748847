"""How far a study has come, and how much of its budget is left."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial, TrialState

from sweeps.study.storage import origin_of

__all__ = ["Budget", "Clock", "Tally", "is_asked"]


@dataclass(frozen=True, slots=True)
class Tally:
    """How many trials are in which state. An attempt that another one goes on with does not count.

    Attributes:
        complete: trials that ended.
        pruned: trials that were stopped early.
        failed: trials that ended with an error.
        waiting: trials in the queue.
        running: trials that workers are at.
        extra: of those that ended, how many the budget does not pay for: asked for, or imported from another study.
        asked_waiting: of those in the queue, how many were asked for.
        asked_running: of those that run, how many were asked for.
    """

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    waiting: int = 0
    running: int = 0
    extra: int = 0
    asked_waiting: int = 0
    asked_running: int = 0

    @classmethod
    def of(cls, trials: Iterable[FrozenTrial]) -> Tally:
        """Counts trials."""
        counts, asked = dict.fromkeys(TrialState, 0), dict.fromkeys(TrialState, 0)
        extra = 0
        for trial in trials:
            if not trial.user_attrs.get("requeued"):
                counts[trial.state] += 1
                asked[trial.state] += is_asked(trial)
                ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
                extra += ended and (is_asked(trial) or "imported" in trial.user_attrs)
        return cls(
            complete=counts[TrialState.COMPLETE],
            pruned=counts[TrialState.PRUNED],
            failed=counts[TrialState.FAIL],
            waiting=counts[TrialState.WAITING],
            running=counts[TrialState.RUNNING],
            extra=extra,
            asked_waiting=asked[TrialState.WAITING],
            asked_running=asked[TrialState.RUNNING],
        )

    @property
    def ended(self) -> int:
        """The trials that came to an end with a result."""
        return self.complete + self.pruned

    @property
    def finished(self) -> int:
        """The trials that count towards the budget."""
        return self.ended - self.extra


def is_asked(trial: FrozenTrial) -> bool:
    """Says whether somebody asked for this very trial: it runs whatever is left of the budget in trials."""
    return bool(trial.user_attrs.get("asked"))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a study may take.

    Attributes:
        trials: how many may finish; None sets no limit. Those that were asked for do not count.
        time_s: the seconds over all calls of `run`; None sets no limit.
        queued_only: True ends the study with its queue: a grid has no more points than are enqueued.
        most: how many may have ended when this call ends, whoever asked for them; None sets no limit.
        only: the trials, by the numbers that they began under, that this call is about; None: all.
    """

    trials: int | None = None
    time_s: float | None = None
    queued_only: bool = False
    most: int | None = None
    only: frozenset[int] | None = None

    def narrowed(self, only: Collection[int] | None) -> Budget:
        """Returns the budget of a call that runs these trials, which somebody asked for, and no others."""
        return self if only is None else replace(Budget(trials=0), only=frozenset(only))

    def of_call(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the trials that the call is about."""
        return [trial for trial in trials if self.only is None or origin_of(trial) in self.only]

    def tally(self, trials: Iterable[FrozenTrial]) -> Tally:
        """Counts them."""
        return Tally.of(self.of_call(trials))

    def is_spent(self, tally: Tally, elapsed_s: float = 0.0) -> bool:
        """Says whether nothing more may be begun."""
        trials_done = self.trials is not None and tally.finished >= self.trials
        return (
            (trials_done and not tally.asked_waiting and not tally.asked_running)
            or (self.time_s is not None and elapsed_s >= self.time_s)
            or (self.queued_only and not tally.waiting and not tally.running)
        )

    def is_over(self, tally: Tally) -> bool:
        """Says whether this call has brought as many trials to their ends as it shall."""
        return self.most is not None and tally.ended >= self.most

    def has_room(self, tally: Tally) -> bool:
        """Says whether one more trial may start beside those that run already."""
        if self.most is not None and tally.ended + tally.running >= self.most:
            return False
        return self.has_room_for_any(tally) or tally.asked_waiting > 0

    def has_room_for_any(self, tally: Tally) -> bool:
        """Says whether that may be any trial, and not only one that was asked for."""
        if self.queued_only and not tally.waiting:
            return False
        return self.trials is None or tally.finished + tally.running - tally.asked_running < self.trials

    def total(self, tally: Tally) -> int | None:
        """Returns how many trials there will be, as far as they are counted: by the budget, or in a queue."""
        if self.trials is None and self.queued_only:
            return tally.ended + tally.waiting + tally.running
        return self.trials

    def left_s(self, elapsed_s: float) -> float | None:
        """Returns the seconds that are left; None where the time has no limit."""
        return None if self.time_s is None else self.time_s - elapsed_s

    def share(self, tally: Tally, elapsed_s: float) -> float:
        """Returns the part of the budget that is used, from 0 to 1; of trials or time, what is nearer its end."""
        shares = [tally.finished / self.trials] if self.trials else []
        if self.queued_only and self.trials is None and (total := self.total(tally)):
            shares.append(tally.ended / total)
        shares += [tally.ended / len(self.only)] if self.only else []
        shares += [elapsed_s / self.time_s] if self.time_s else []
        return min(1.0, max(shares, default=0.0))


class Clock:
    """Counts the seconds of a study: those of this call, and with those of all calls before it.

    Args:
        used_s: the seconds of earlier calls.
    """

    def __init__(self, used_s: float) -> None:
        self.used_s = used_s
        self._began = time.monotonic()  # which nobody sets back

    @property
    def call_s(self) -> float:
        """Seconds of this call."""
        return time.monotonic() - self._began

    @property
    def total_s(self) -> float:
        """Seconds of all calls."""
        return self.used_s + self.call_s

    def write_off(self, left_s: float) -> None:
        """Counts seconds as used that are left, but too few for anything."""
        self.used_s += left_s
