"""What making a submission again came to, as it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sweeps.provenance import show_changes

__all__ = ["Verification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What making a submission again came to.

    Attributes:
        name: the submission's.
        study: the study's.
        members: how many nets answered.
        images: how many answers there are.
        sha256: the digest that the manifest names.
        rebuilt_sha256: that of the answers as they came out now.
        differing: how many answers came out otherwise than recorded; None where the bytes differ, and nothing is left
            to count by.
        file_differing: how many answers in the file beside the manifest are others than came out now; None where there
            is no such file, or it holds no such answers.
        is_foreign: whether the file beside the manifest is something else.
        probs_difference: the largest difference between a probability kept then and the one that came out now; None
            where none were kept.
        changed: what has changed since, of versions and commit: then and now.
        notes: what else there is to say.
    """

    name: str
    study: str
    members: int
    images: int
    sha256: str
    rebuilt_sha256: str
    differing: int | None
    file_differing: int | None
    is_foreign: bool
    probs_difference: float | None
    changed: dict[str, tuple[str, str]]
    notes: tuple[str, ...] = field(default=())

    @property
    def same_bytes(self) -> bool:
        """Whether the answers came out as the manifest has them, byte by byte."""
        return self.sha256 == self.rebuilt_sha256

    @property
    def is_same(self) -> bool:
        """Whether no answer differs, neither from the manifest's nor from those in the file beside it."""
        return self.differing == 0 and not self.file_differing and not self.is_foreign

    @property
    def exit_code(self) -> int:
        """0 if it is the same, else 1."""
        return 0 if self.is_same else 1

    @property
    def _verdict(self) -> str:
        if self.is_same:
            return "the same bytes" if self.same_bytes else "the same labels"
        return "as recorded, but the file is another" if self.same_bytes else "different"

    def text(self) -> str:
        """Returns what a user reads."""
        lines = [f"{self.name}: {self._verdict}"]
        answers = f"{self.images:,} by {self.members} {'net' if self.members == 1 else 'nets'} of study {self.study}"
        if self.same_bytes:
            answers += f", as recorded (sha256 {self.sha256[:12]}…)"
        elif self.differing is None:
            answers += f"; not as recorded (sha256 {self.rebuilt_sha256[:12]}…, not {self.sha256[:12]}…)"
        else:
            answers += f"; {self.differing:,} differ from what was recorded"
        lines.append(f"  answers        {answers}")
        if self.is_foreign:
            lines.append("  the file       is not the submission that the manifest describes")
        elif self.file_differing:
            answers = "answer" if self.file_differing == 1 else "answers"
            lines.append(f"  the file       has {self.file_differing:,} other {answers}: it was changed afterwards")
        if self.probs_difference is None:
            lines.append("  probabilities  none were kept to compare with")
        elif self.probs_difference == 0:
            lines.append("  probabilities  as recorded, to the last bit")
        else:
            lines.append(f"  probabilities  differ by at most {self.probs_difference:.2g}")
        if self.changed:
            lines.append(f"  made by        {show_changes(self.changed)}")
        return "\n".join([*lines, *(f"  note           {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            "submission": self.name,
            "study": self.study,
            "same": self.is_same,
            "same_bytes": self.same_bytes,
            "images": self.images,
            "members": self.members,
            "sha256": self.sha256,
            "rebuilt_sha256": self.rebuilt_sha256,
            "differing": self.differing,
            "file_differing": self.file_differing,
            "file_is_foreign": self.is_foreign,
            "probs_difference": self.probs_difference,
            "changed": {name: {"then": then, "now": now} for name, (then, now) in self.changed.items()},
            "notes": list(self.notes),
        }
