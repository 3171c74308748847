"""What `clean` did, as a table and as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sweeps.care.clean.removal import Count

__all__ = ["KINDS", "Cleaned"]

#: What is freed, in the order of the table.
KINDS = {
    "weights": "weights",
    "predictions": "validation predictions",
    "finals": "last states, for `extend`",
    "checkpoints": "checkpoints of ended trials",
    "temporaries": "left by killed workers",
    "artifacts": "copies among MLflow's artifacts",
    "ensembles": "ensembles",
}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was freed.

    Attributes:
        study: the study's name.
        dry_run: True if nothing was: it only would have been.
        keep: how many of the best trials keep everything.
        freed: by kind.
        left: by kind.
        trials: the numbers of the trials that lost files in this call.
        best: how many trials kept everything as the best.
        referred: how many others kept their weights, because something refers to them.
        at_work: how many wait or run.
        busy: how many were left out because a process holds them.
        notes: what else is to be said, each in a line.
    """

    study: str
    dry_run: bool
    keep: int
    freed: Mapping[str, Count]
    left: Mapping[str, Count]
    trials: tuple[int, ...]
    best: int
    referred: int
    at_work: int
    busy: int
    notes: tuple[str, ...]

    def text(self) -> str:
        """Returns it for a terminal."""
        freed, left = "would free" if self.dry_run else "freed", "left"
        known = [kind for kind in KINDS if kind in self.freed or kind in self.left]
        rows = [(KINDS[kind], self.freed.get(kind, Count()), self.left.get(kind, Count())) for kind in known]
        rows.append(("total", self._total(self.freed), self._total(self.left)))
        lines = [f"study {self.study}: {self._kept()}", "", f"{'':32}{freed:>18}{left:>18}"]
        lines += [f"{title:32}{_cell(gone):>18}{_cell(stays, with_shared=True):>18}" for title, gone, stays in rows]
        total = self._total(self.freed)
        if total.shared_bytes:
            lines += [
                "",
                f"{_megabytes(total.shared_bytes)} more are free when other studies let go of them (hard links).",
            ]
        if self.trials:
            lines += ["", f"`replay {self.study} N --keep` makes a trial whole again: {_numbers(self.trials)}"]
        return "\n".join([*lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)

    def _kept(self) -> str:
        parts = [f"the best {self.best} keep everything"]
        if self.referred:
            parts.append(f"{self.referred} more keep what ensembles, submissions or waiting trials refer to")
        if self.at_work:
            parts.append(f"{self.at_work} that wait or run are left alone")
        if self.busy:
            parts.append(f"{self.busy} held by a process are left for the next call")
        return ", ".join(parts)

    @staticmethod
    def _total(counts: Mapping[str, Count]) -> Count:
        return sum(counts.values(), Count())


def _cell(count: Count, *, with_shared: bool = False) -> str:
    if not count.files:
        return "–"
    return f"{count.files:>5}  {_megabytes(count.bytes + with_shared * count.shared_bytes):>9}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.0f} kB"


def _numbers(trials: tuple[int, ...]) -> str:
    shown = ", ".join(f"#{number:03d}" for number in trials[:12])
    return f"{shown} and {len(trials) - 12} more" if len(trials) > 12 else shown
