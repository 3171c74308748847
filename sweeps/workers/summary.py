"""What a `run` has to say at its end."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RunSummary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """How a study stands after a `run`.

    Attributes:
        study: its name.
        complete: trials that ran to their end.
        pruned: trials that were ended early, as they were worse than others or diverged.
        failed: trials that failed for good.
        waiting: trials that the next run goes on with.
        best_number: the best trial; None while none is complete.
        best_value: its value.
        best_val_accuracy: its validation accuracy.
        elapsed_s: what this call took, up to the end of its workers.
        total_s: what all calls took.
        undelivered: events that MLflow does not have yet; the next run delivers them.
        stopped_by: "budget", "timeout", "signal" or "failure"; "complete" if the budget was used up before.
    """

    study: str
    complete: int
    pruned: int
    failed: int
    waiting: int
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
