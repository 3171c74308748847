"""What a report lists: trials, what was searched, and when the test images were opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Opening",
    "SpaceRow",
    "TrialFacts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """A trial, over all its attempts.

    Attributes:
        number: the one that it began under.
        state: "complete", "pruned", "diverged", "failed", "running" or "waiting".
        label: its network in a few words.
        val_loss: of its best epoch.
        val_accuracy: of its best epoch.
        epochs: how many it had.
        planned: how many it was to have.
        seconds: what they took.
        epoch_s: what one took on average.
        params: how many numbers it trained.
        macs: multiply-adds of one image.
        role: what it is besides a trial that the sampler drew: "baseline small", "repeats #003, seed 2".
        reason: why it was pruned, or failed.
        attempts: how often it was begun.
        values: all its choices, by the names that a table shows.
        objective: what it was judged by, where that is neither its loss nor its accuracy alone.
    """

    number: int
    state: str
    label: str
    val_loss: float | None
    val_accuracy: float | None
    epochs: int
    planned: int
    seconds: float | None
    epoch_s: float | None
    params: int | None
    macs: int | None
    role: str
    reason: str
    attempts: int
    values: Mapping[str, Any]
    objective: float | None = None

    @property
    def name(self) -> str:
        """Its number as it is shown: #017."""
        return f"#{self.number:03d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """Something that was searched, or fixed.

    Attributes:
        name: in words.
        values: what it may be.
        when: under which condition it is asked for, if not always.
        winner: what the best trial has; "" where it does not have it.
    """

    name: str
    values: str
    when: str
    winner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A time that the test images were opened, and what for."""

    time: str
    purpose: str
