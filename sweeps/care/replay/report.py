"""What a replay found, as it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeps.provenance import show_changes

__all__ = ["Difference", "Replay"]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first value that did not come out as it is recorded.

    Attributes:
        epoch: of which epoch.
        name: of which metric.
        recorded: as it is recorded.
        source: where.
        replayed: as it came out; None where the training did not get that far.
        epochs: how many epochs have such values.
    """

    epoch: int
    name: str
    recorded: float
    source: str
    replayed: float | None
    epochs: int

    def __str__(self) -> str:
        now = "which was not reached now" if self.replayed is None else f"{self.replayed!r} now"
        rest = f"; so it is in {self.epochs} epochs" if self.epochs > 1 else ""
        return f"epoch {self.epoch}: {self.name} {self.recorded!r} in {self.source}, {now}{rest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What training a trial again came to.

    Attributes:
        study: the study's name.
        number: the trial's.
        state: COMPLETE or PRUNED.
        epochs: how many whole epochs it had.
        difference: the first value of the curve that differs, if any does.
        reason: why it was pruned.
        replayed_reason: why it ended now, where that can differ: it diverged, or it did not ("").
        weights_sha256: the digest of the recorded weights, if it has any.
        replayed_sha256: that of the weights that came out.
        same_state: whether the state after its last epoch is the one that was kept; None where none was.
        changed: what has changed since, of versions and commit: then and now.
        is_known: whether it is recorded what the trial was made by.
        remarks: what else there is to say.
        broken: the trial's files that are missing or damaged, of those that came out.
        kept: the files that were put in place.
        seconds: how long it took.
    """

    study: str
    number: int
    state: str
    epochs: int
    difference: Difference | None
    reason: str
    replayed_reason: str
    weights_sha256: str | None
    replayed_sha256: str | None
    same_state: bool | None
    changed: dict[str, tuple[str, str]]
    is_known: bool
    remarks: tuple[str, ...]
    broken: tuple[str, ...]
    kept: tuple[str, ...]
    seconds: float

    @property
    def same_end(self) -> bool:
        """Whether it ended as it is recorded: by diverging, or not."""
        return self.reason == self.replayed_reason

    @property
    def is_same(self) -> bool:
        """Whether all that came out is what is recorded, to the last bit."""
        return (
            self.difference is None
            and self.same_end
            and self.weights_sha256 == self.replayed_sha256
            and self.same_state is not False
        )

    @property
    def exit_code(self) -> int:
        """0 if it is the same, else 1."""
        return 0 if self.is_same else 1

    def text(self) -> str:
        """Returns what a user reads."""
        lines = [f"trial {self.number} of study {self.study}: {'the same' if self.is_same else 'different'}"]
        if self.weights_sha256 is not None:
            lines.append(f"  weights     {self._weights}")
        epochs = f"{self.epochs} {'epoch' if self.epochs == 1 else 'epochs'}"
        lines.append(f"  curve       {self.difference or f'{epochs}, each value as recorded'}")
        if self.state == "PRUNED":
            now = "" if self.same_end else f"; now it {self.replayed_reason or 'went on'}"
            lines.append(f"  end         {self.reason or 'pruned'}{now}")
        if self.same_state is not None:
            same = "as kept in final.npz" if self.same_state else "not the one kept in final.npz"
            lines.append(f"  last state  {same}")
        if self.is_same and self.broken:
            verb, pronoun = ("is", "it") if len(self.broken) == 1 else ("are", "them")
            lines.append(
                f"  files       {', '.join(self.broken)} {verb} missing or damaged; --keep puts {pronoun} back"
            )
        if self.changed:
            lines.append(f"  made by     {show_changes(self.changed)}")
        elif not self.is_same:
            lines.append(f"  made by     {'the same versions and commit' if self.is_known else 'not recorded'}")
        lines += [f"  note        {remark}" for remark in self.remarks]
        if self.kept:
            lines.append(f"  put back    {', '.join(self.kept)}")
        return "\n".join(lines)

    @property
    def _weights(self) -> str:
        recorded, replayed = str(self.weights_sha256)[:12], (self.replayed_sha256 or "")[:12]
        if self.weights_sha256 == self.replayed_sha256:
            return f"sha256 {recorded}…, as recorded"
        return f"sha256 {replayed}… now, {recorded}… recorded" if replayed else f"none now, sha256 {recorded}… recorded"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        found = self.difference
        return {
            "study": self.study,
            "trial": self.number,
            "state": self.state,
            "same": self.is_same,
            "epochs": self.epochs,
            "difference": None
            if found is None
            else {
                "epoch": found.epoch,
                "metric": found.name,
                "recorded": found.recorded,
                "source": found.source,
                "replayed": found.replayed,
                "epochs": found.epochs,
            },
            "reason": self.reason,
            "replayed_reason": self.replayed_reason,
            "weights_sha256": self.weights_sha256,
            "replayed_sha256": self.replayed_sha256,
            "same_state": self.same_state,
            "changed": {name: {"then": then, "now": now} for name, (then, now) in self.changed.items()},
            "remarks": list(self.remarks),
            "broken": list(self.broken),
            "kept": list(self.kept),
            "seconds": round(self.seconds, 3),
        }
