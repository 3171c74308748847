"""How far a study has come, and how much of its budget is left."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from optuna.trial import FrozenTrial, TrialState

from sweeps.config import Final, StudyConfig
from sweeps.study.lineage import is_final
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
        extra: of those that ended, how many the budget in trials does not pay for: asked for, imported from another
            study, or members of the final stage.
        asked_waiting: of those in the queue, how many were asked for.
        asked_running: of those that run, how many were asked for.
        members: of those that ended, how many are members of this study's own final stage.
        members_complete: of the complete ones, how many are.
        members_waiting: of those in the queue, how many are.
        members_running: of those that run, how many are.
    """

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    waiting: int = 0
    running: int = 0
    extra: int = 0
    asked_waiting: int = 0
    asked_running: int = 0
    members: int = 0
    members_complete: int = 0
    members_waiting: int = 0
    members_running: int = 0

    @classmethod
    def of(cls, trials: Iterable[FrozenTrial]) -> Tally:
        """Counts trials."""
        counts, asked, final = (dict.fromkeys(TrialState, 0) for _ in range(3))
        extra = 0
        for trial in trials:
            if not trial.user_attrs.get("requeued"):
                counts[trial.state] += 1
                asked[trial.state] += is_asked(trial)
                final[trial.state] += is_final(trial) and "imported" not in trial.user_attrs
                ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
                extra += ended and (is_asked(trial) or is_final(trial) or "imported" in trial.user_attrs)
        return cls(
            complete=counts[TrialState.COMPLETE],
            pruned=counts[TrialState.PRUNED],
            failed=counts[TrialState.FAIL],
            waiting=counts[TrialState.WAITING],
            running=counts[TrialState.RUNNING],
            extra=extra,
            asked_waiting=asked[TrialState.WAITING],
            asked_running=asked[TrialState.RUNNING],
            members=final[TrialState.COMPLETE] + final[TrialState.PRUNED],
            members_complete=final[TrialState.COMPLETE],
            members_waiting=final[TrialState.WAITING],
            members_running=final[TrialState.RUNNING],
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
        final: the stage that follows the search, if there is one: trials and queue are the search's limits then.
    """

    trials: int | None = None
    time_s: float | None = None
    queued_only: bool = False
    most: int | None = None
    only: frozenset[int] | None = None
    final: Final | None = None

    @classmethod
    def of(cls, config: StudyConfig, most: int | None = None) -> Budget:
        """Returns the budget of a study.

        Args:
            config: the study.
            most: as in `Budget`.
        """
        given, queued_only = config.budget, config.is_queued
        return cls(given.trials, given.time_s, queued_only=queued_only, most=most, final=config.final)

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
        if self.time_s is not None and elapsed_s >= self.time_s:
            return True
        if self.final is None:
            return self._is_searched(tally)
        has_all = self.final.members is not None and tally.members >= self.final.members
        return has_all and not tally.members_running and self.is_searched(tally, elapsed_s)

    def is_searched(self, tally: Tally, elapsed_s: float = 0.0) -> bool:
        """Says whether the search has ended, and all that is left is the final stage's."""
        return self._is_searched(tally) or (self.search_s is not None and elapsed_s >= self.search_s)

    def _is_searched(self, tally: Tally) -> bool:
        trials_done = self.trials is not None and tally.finished >= self.trials
        waiting, running = tally.waiting - tally.members_waiting, tally.running - tally.members_running
        return (trials_done and not tally.asked_waiting and not tally.asked_running) or (
            self.queued_only and not waiting and not running
        )

    @property
    def search_s(self) -> float | None:
        """The seconds that the search has of the budget's; None where it has no limit in time."""
        return None if self.time_s is None else self.time_s - (self.final_s or 0.0)

    @property
    def final_s(self) -> float | None:
        """The seconds that the final stage has of the budget's; None where it has no part of them, or is none."""
        return None if self.final is None else self.final.seconds_of(self.time_s)

    def is_over(self, tally: Tally) -> bool:
        """Says whether this call has brought as many trials to their ends as it shall."""
        return self.most is not None and tally.ended >= self.most

    def is_full(self, tally: Tally) -> bool:
        """Says whether as many trials run as may still end in this call."""
        return self.most is not None and tally.ended + tally.running >= self.most

    def has_room(self, tally: Tally) -> bool:
        """Says whether one more trial of the search may start beside those that run already."""
        if self.is_full(tally):
            return False
        return self.has_room_for_any(tally) or tally.asked_waiting > 0

    def has_room_for_any(self, tally: Tally) -> bool:
        """Says whether that may be any trial, and not only one that was asked for."""
        if self.queued_only and tally.waiting <= tally.members_waiting:
            return False
        running = tally.running - tally.asked_running - tally.members_running
        return self.trials is None or tally.finished + running < self.trials

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
        members = 0 if self.final is None else self.final.members or 0
        shares = []
        if self.trials and self.final is None:
            shares = [tally.finished / self.trials]
        elif self.trials and self.time_s is None:  # the search ends with its trials, and the study after its members
            shares = [(min(tally.finished, self.trials) + tally.members) / (self.trials + members)]
        elif self.queued_only and self.trials is None and (total := self.total(tally)):
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
