"""What races of two sweeps found, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from benchmarks.results import Environment
from benchmarks.sweep_curve import Point, at, kept_from, reached
from benchmarks.sweep_sides import Sweep

__all__ = ["WANTED", "Outcome", "Race", "Results", "load", "middle_share", "outcome", "save"]

WANTED = 0.5
"""The part of the peer's time in which this project's sweep is to have what the peer ended with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Both sides with one seed; `first` is the one that ran first."""

    seed: int
    first: str
    ours: Sweep
    peer: Sweep


@dataclass(slots=True, kw_only=True)
class Results:
    """A run of races.

    Attributes:
        environment: where it was made.
        versions: of what else drives the sweeps, by name.
        study: the study's name.
        budget_s: the time of each sweep.
        study_s: the time that the study itself would have, if it is limited.
        top: members of the ensembles.
        workers: processes of each sweep.
        keep_pages: whether glibc kept freed memory.
        races: in the order in which they were run.
    """

    environment: Environment
    versions: dict[str, str]
    study: str
    budget_s: float
    top: int
    workers: int
    study_s: float | None = None
    keep_pages: bool = False
    races: list[Race] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a race says. **Units**: seconds since a command began.

    Attributes:
        target: the validation loss of the peer's ensemble at the end of the budget.
        peer_s: when the peer first had that loss.
        ours_s: since when this project had it, and never a worse one again; None if it has not.
        first_s: when this project first had it; None if it never had.
        peer: what the peer had at the end of the budget.
        ours: what this project had at the end of the budget; None if no trial was complete.
        late: what the peer had when the trials that the end of the budget found running had ended.
        late_s: since when this project had as good as that, within the budget; None if it had not.
    """

    target: float
    peer_s: float
    ours_s: float | None
    first_s: float | None
    peer: Point
    ours: Point | None
    late: Point
    late_s: float | None

    @property
    def share(self) -> float | None:
        """This project's time over the peer's, both to the same loss."""
        return None if self.ours_s is None else self.ours_s / self.peer_s


def outcome(race: Race, budget_s: float) -> Outcome | None:
    """Returns what a race says; None where the peer completed no trial in time.

    The stricter reading counts on each side: the peer has a loss when it first has it, this project when it keeps it.
    """
    ours = [point for point in race.ours.curve if point.seconds <= budget_s]
    peer = at(race.peer.curve, budget_s)
    if peer is None:
        return None
    peer_s = reached(race.peer.curve, peer.ensemble_loss)
    assert peer_s is not None  # for mypy: it is a point of that curve
    late = race.peer.curve[-1]
    return Outcome(
        target=peer.ensemble_loss,
        peer_s=peer_s,
        ours_s=kept_from(ours, peer.ensemble_loss),
        first_s=reached(ours, peer.ensemble_loss),
        peer=peer,
        ours=at(ours, budget_s),
        late=late,
        late_s=kept_from(ours, late.ensemble_loss),
    )


def middle_share(results: Results) -> float | None:
    """Returns the median over all races of this project's time over the peer's.

    A race in which this project never came to the peer's loss counts as one that took for ever. None where none says
    anything, or the median is such a one.
    """
    found = [outcome(race, results.budget_s) for race in results.races]
    shares = [np.inf if each.share is None else each.share for each in found if each is not None]
    if not shares or not np.isfinite(middle := float(np.median(shares))):
        return None
    return middle


_ADAPTER = TypeAdapter(Results)


def save(results: Results, path: Path) -> None:
    """Writes the races."""
    path.write_bytes(_ADAPTER.dump_json(results, indent=1) + b"\n")


def load(path: Path) -> Results:
    """Reads what `save` wrote."""
    return _ADAPTER.validate_json(path.read_bytes())
