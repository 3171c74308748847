"""What a `run` has to say at its end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.study.forecast import epochs_done
from sweeps.study.lineage import total_epochs
from sweeps.study.storage import origin_of
from sweeps.views.progress import clock

__all__ = ["RunSummary", "cut_off"]


def cut_off(trials: Iterable[FrozenTrial], epochs: int) -> str | None:
    """Returns a line on the trials that have begun and were stopped by the end of a budget, or None without any.

    Args:
        trials: the study's.
        epochs: of a trial, unless it says otherwise.
    """
    named = [
        f"#{origin_of(trial):03d} ({epochs_done(trial)} of {total_epochs(trial, epochs)} epochs done)"
        for trial in trials
        if trial.state == TrialState.WAITING and "label" in trial.user_attrs
    ]
    return f"stopped by the end of the budget, to go on in a longer one: {', '.join(named)}" if named else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a study stands after a `run`.

    Attributes:
        study: its name.
        metric: what its trials are judged by.
        complete: trials that ran to their end.
        pruned: trials that were ended early, as they were worse than others or diverged.
        failed: trials that failed for good.
        waiting: trials that the next run goes on with.
        members: of the complete ones, how many are members of the final stage.
        best_number: the best trial; None while none is complete.
        best_value: its value.
        best_val_accuracy: its validation accuracy.
        elapsed_s: what this call took, up to the end of its workers.
        total_s: what all calls took.
        undelivered: events that MLflow does not have yet; the next run delivers them.
        stopped_by: "budget", "trials" or "timeout" (of this call), "signal" or "failure"; "complete" if the budget was
            used up before.
    """

    study: str
    metric: str
    complete: int
    pruned: int
    failed: int
    waiting: int
    members: int = 0
    best_number: int | None
    best_value: float | None
    best_val_accuracy: float | None
    elapsed_s: float
    total_s: float
    undelivered: int
    stopped_by: str

    @property
    def finished(self) -> int:
        """The trials that count towards the budget."""
        return self.complete + self.pruned

    @property
    def exit_code(self) -> int:
        """What the process shall return to its caller."""
        return {"signal": 130, "failure": 1}.get(self.stopped_by, 0)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        counts = [f"{self.complete} trial{'s' if self.complete != 1 else ''} complete", f"{self.pruned} pruned"]
        if self.members:
            counts[0] += f", {self.members} of them member{'s' if self.members != 1 else ''} of the final stage"
        counts += [f"{self.failed} failed"] if self.failed else []
        is_spent = self.stopped_by in ("budget", "complete")
        if self.waiting:
            counts.append(f"{self.waiting} waiting for {'a longer budget' if is_spent else 'the next run'}")
        lines = [f"study {self.study}: {', '.join(counts)}, in {clock(self.total_s)}"]
        if self.best_number is not None and self.best_value is not None:
            accuracy = (
                "" if self.best_val_accuracy is None else f", validation accuracy {100 * self.best_val_accuracy:.2f} %"
            )
            lines.append(f"best trial: #{self.best_number:03d}, {self.metric} {self.best_value:.4f}{accuracy}")
        return "\n".join(lines)
