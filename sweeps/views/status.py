"""How a study stands at a moment: in words, and as plain values."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

from sweeps.config.duration import clock
from sweeps.study.budget import Budget, Tally
from sweeps.study.storage import origin_of
from sweeps.views.progress import RunningTrial, figures, running_lines
from sweeps.views.screen import cut

__all__ = ["AtWork", "Keeping", "Queued", "StudyStatus", "moment", "ruled", "waiting_events"]

_SHOWN_QUEUE = 5
_HEAD = 9  # characters of what stands before the lines
_NARROW = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """The process that keeps a study's clock: its `run`, or a `worker` that took over.

    Attributes:
        pid: its number, as far as the lock's file says it.
        since: when it began, in seconds since 1970.
    """

    pid: int | None
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """A trial that is trained, or was when its worker died.

    Attributes:
        trial: how far it is.
        where: "here", "elsewhere" (on another machine), or "dead": nobody is at it, and the next `run` goes on with it.
        pid: of the worker.
    """

    trial: RunningTrial
    where: str
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A trial that waits.

    Attributes:
        number: the one that it began under.
        origin: where it comes from, in words.
        epoch: the last epoch that an attempt before has ended.
    """

    number: int
    origin: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """How a study stands.

    Attributes:
        study: its name.
        metric: what its trials are judged by.
        keeping: the process that runs it on this machine.
        tally: its trials by state.
        budget: what it may take.
        elapsed_s: what all calls have taken so far.
        left_s: how long it will take, if that is known.
        best: the best trial that is complete.
        workers: the trials that run.
        queue: those that wait.
        undelivered: events that MLflow does not have yet.
    """

    study: str
    metric: str
    keeping: Keeping | None
    tally: Tally
    budget: Budget
    elapsed_s: float
    left_s: float | None
    best: FrozenTrial | None
    workers: Sequence[AtWork]
    queue: Sequence[Queued]
    undelivered: int

    @property
    def is_at_work(self) -> bool:
        """Whether anybody works on it."""
        return self.keeping is not None or any(worker.where != "dead" for worker in self.workers)

    @property
    def share(self) -> float:
        """The part of the budget that is used."""
        return self.budget.share(self.tally, self.elapsed_s)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        best, tally, keeping = self.best, self.tally, self.keeping
        known = None if best is None else best.user_attrs
        return {
            "study": self.study,
            "metric": self.metric,
            "run": None if keeping is None else {"pid": keeping.pid, "since": moment(keeping.since)},
            "budget": {
                "share": self.share,
                "elapsed_s": self.elapsed_s,
                "time_s": self.budget.time_s,
                "finished": tally.finished,
                "trials": self.budget.trials,
                "left_s": self.left_s,
            },
            "counts": {name: getattr(tally, name) for name in ("complete", "pruned", "failed", "running", "waiting")},
            "final": None if self.budget.final is None else self._final(),
            "best": best
            and {
                "trial": origin_of(best),
                "network": (known or {}).get("label"),
                "value": best.value,
                "val_loss": (known or {}).get("val_loss"),
                "val_accuracy": (known or {}).get("val_accuracy"),
            },
            "workers": [_named(asdict(each.trial)) | {"pid": each.pid, "where": each.where} for each in self.workers],
            "queue": [{"trial": each.number, "from": each.origin, "epoch": each.epoch} for each in self.queue],
            "undelivered": self.undelivered,
        }

    def _final(self) -> dict[str, Any]:
        final, tally = self.budget.final, self.tally
        assert final is not None  # for mypy: who asks has looked
        return {
            "complete": tally.members_complete,
            "running": tally.members_running,
            "waiting": tally.members_waiting,
            "members": final.members,
            "begins_s": self.budget.search_s,
        }

    def text(self, width: int | None = None) -> str:
        """Returns it for people, no line longer than `width`."""
        return ruled(self._sections(width), width)

    def _sections(self, width: int | None) -> Iterator[tuple[str, list[str]]]:
        keeping, tally, budget = self.keeping, self.tally, self.budget
        if keeping is not None:
            who = "a process" if keeping.pid is None else f"process {keeping.pid}"
            now = f"run by {who} since {moment(keeping.since)[11:]} ({clock(time.time() - keeping.since)})"
        elif self.is_at_work:
            now = "no `run` on this machine, but workers"
        else:
            now = "nobody is at work on it"
        yield "study", [f"{self.study}: {now}"]
        parts = [f"{tally.finished} of {budget.trials} trials"] if budget.trials is not None else []
        parts += [f"{clock(self.elapsed_s)} of {clock(budget.time_s)}"] if budget.time_s is not None else []
        parts = parts or [f"{tally.ended} of the queue's {tally.ended + tally.waiting + tally.running} trials"]
        parts += [f"{clock(self.left_s)} left"] if self.left_s is not None and self.share < 1 else []
        yield "budget", [f"{100 * self.share:.0f} % used: {', '.join(parts)}"]
        counts = [f"{tally.complete} complete", f"{tally.pruned} pruned"]
        counts += [f"{tally.failed} failed"] if tally.failed else []
        yield "trials", [", ".join([*counts, f"{tally.running} running", f"{tally.waiting} waiting"])]
        if budget.final is not None:
            yield "final", [self._final_text()]
        if self.best is not None:
            yield (
                "best",
                [f"#{origin_of(self.best):03d}  {figures(self.best)}  {self.best.user_attrs.get('label', '')}"],
            )
        if self.workers:
            room = 1000 if width is None else width - (_HEAD if width >= _NARROW else 2)
            yield "workers", running_lines([_placed(worker) for worker in self.workers], room)
        if self.queue:
            more = len(self.queue) - _SHOWN_QUEUE
            listed = [
                f"#{each.number:03d}  {each.origin}" + (f", goes on after epoch {each.epoch}" if each.epoch else "")
                for each in self.queue[:_SHOWN_QUEUE]
            ]
            yield "queue", [*listed, *([f"… and {more} more"] if more > 0 else [])]
        if self.undelivered:
            yield "mlflow", [waiting_events(self.undelivered)]

    def _final_text(self) -> str:
        tally, budget = self.tally, self.budget
        begun = tally.members + tally.members_running + tally.members_waiting
        if not begun:
            after = "the search" if budget.search_s is None else f"{clock(budget.search_s)} of search"
            return f"follows after {after}"
        most = budget.final.members if budget.final is not None else None
        counts = [f"{tally.members_complete}{'' if most is None else f' of {most}'} members complete"]
        counts += [f"{tally.members_running} running"] if tally.members_running else []
        counts += [f"{tally.members_waiting} waiting"] if tally.members_waiting else []
        return ", ".join(counts)


def waiting_events(count: int) -> str:
    """Returns how many events are still to be delivered, in words."""
    return f"{count:,} event{'s wait' if count != 1 else ' waits'} to be delivered"


def moment(seconds: float) -> str:
    """Returns a time as it is written here: 2026-11-24 15:02:11."""
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")


def ruled(sections: Iterator[tuple[str, list[str]]], width: int | None) -> str:
    """Returns lines with what they are about before them; in a narrow window above them."""
    lines = []
    for head, texts in sections:
        if width is not None and width < _NARROW:
            lines += [head, *(f"  {text}" for text in texts)]
        else:
            lines += [f"{head if not number else '':{_HEAD}}{text}" for number, text in enumerate(texts)]
    return "\n".join(line.rstrip() if width is None else cut(line.rstrip(), width) for line in lines)


def _named(trial: dict[str, Any]) -> dict[str, Any]:
    """Returns what a running trial has, as it is called elsewhere."""
    names = {"number": "trial", "label": "network", "done": "epoch"}
    return {names.get(name, name): value for name, value in trial.items()}


def _placed(worker: AtWork) -> RunningTrial:
    if worker.where == "dead":
        return replace(worker.trial, label=f"its worker died · {worker.trial.label}", left_s=None)
    place = f"process {worker.pid}" if worker.pid is not None else "another machine"
    return replace(worker.trial, label=f"{worker.trial.label} · {place}")
