"""What doctor found, and how it is told: one line for all that have the same fault."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnistnn.errors import InputError
from sweeps.tracking.address import public

__all__ = ["Finding", "Report"]

_HEADERS = ("check", "object", "what is wrong")
_WIDTHS = (12, 22, 40, 36)  # characters; a cell that is longer goes on below
_GAP = "  "


@dataclass(slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        check: which part of the study it belongs to.
        subject: what it is about: "trial 17", "run 3f2a…".
        wrong: what is wrong with it.
        remedy: what --fix does; where nothing can be done here, what the user can do.
        mend: does it. It may be called again after a kill at any moment. None where doctor cannot, or may not now.
        is_note: True for what is no fault, but somebody's decision.
        outcome: what came of it: "", "fixed", or why it failed.
    """

    check: str
    subject: str
    wrong: str
    remedy: str
    mend: Callable[[], object] | None = None
    is_note: bool = False
    outcome: str = ""

    def fix(self) -> None:
        """Mends it, if that can be done, and notes what came of it."""
        if self.mend is None:
            return
        try:
            self.mend()
        except Exception as error:  # each store has its own; the others are mended all the same
            known = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self.outcome = f"failed: {' '.join(public(known).split())}"
        else:
            self.outcome = "fixed"

    @property
    def status(self) -> str:
        """One of note, fixed, failed, fixable and open."""
        if self.is_note:
            return "note"
        if self.outcome:
            return "fixed" if self.outcome == "fixed" else "failed"
        return "open" if self.mend is None else "fixable"

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        known = {"check": self.check, "object": self.subject, "wrong": self.wrong, "remedy": self.remedy}
        return known | {"status": self.status, "outcome": self.outcome}


@dataclass(slots=True)
class Report:
    """All that was found.

    Attributes:
        study: its name.
        fix: whether what could be mended was.
        trials: how many trials were looked at.
        in_work: how many of them a living worker holds.
        runs: how many runs were looked at; None if MLflow did not answer.
        unseen: why not.
        findings: what is wrong.
    """

    study: str
    fix: bool
    trials: int = 0
    in_work: int = 0
    runs: int | None = None
    unseen: str | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return self.unseen is None and all(each.status in ("note", "fixed") for each in self.findings)

    @property
    def exit_code(self) -> int:
        """0 if all is well, else 1."""
        return 0 if self.is_well else 1

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            "study": self.study,
            "well": self.is_well,
            "trials": self.trials,
            "in_work": self.in_work,
            "runs": self.runs,
            "unseen": self.unseen,
            "findings": [each.to_dict() for each in self.findings],
        }

    def text(self) -> str:
        """Returns a table, and what follows from it."""
        lines: list[str] = []
        if self.findings:
            lines += _table((*_HEADERS, "what was done" if self.fix else "what --fix does"), self._rows()) + [""]
        if self.unseen is not None:
            lines.append(f"MLflow's runs were not looked at: {self.unseen}")
        return "\n".join([*lines, self._summary()])

    def _rows(self) -> Iterable[tuple[str, ...]]:
        groups: dict[tuple[str, str, str], list[str]] = {}
        for each in self.findings:
            groups.setdefault((each.check, each.wrong, self._last_cell(each)), []).append(each.subject)
        return [(check, _together(objects), wrong, last) for (check, wrong, last), objects in groups.items()]

    def _last_cell(self, finding: Finding) -> str:
        if finding.status in ("note", "open"):
            return f"nothing; {finding.remedy}"
        if not self.fix:
            return finding.remedy
        return f"{finding.outcome}: {finding.remedy}" if finding.outcome == "fixed" else finding.outcome

    def _summary(self) -> str:
        seen = [_count(self.trials, "trial")] + ([] if self.runs is None else [_count(self.runs, "run")])
        if self.in_work:
            seen.append(f"{self.in_work} in work")
        counts = dict.fromkeys(("note", "fixed", "failed", "fixable", "open"), 0)
        for each in self.findings:
            counts[each.status] += 1
        wrong = counts["fixable"] + counts["open"] + counts["failed"]
        told = [f"study {self.study!r} ({', '.join(seen)}):"]
        if counts["fixed"]:
            told.append(f"{_count(counts['fixed'], 'thing')} mended,")
        if wrong:
            told.append(f"{_count(wrong, 'thing')} wrong{' still' if self.fix else ''}")
            if counts["fixable"]:
                told.append(f"(`doctor {self.study} --fix` mends {counts['fixable']})")
        else:
            told.append("all is well" if self.unseen is None else "nothing is wrong in what was looked at")
        return " ".join(told) + "."


def _together(objects: Sequence[str]) -> str:
    """Returns many objects in a few words: trial 3, trial 4, trial 5 as "trials 3-5"."""
    numbers = sorted({int(each.removeprefix("trial ")) for each in objects if re.fullmatch(r"trial \d+", each)})
    others = [each for each in dict.fromkeys(objects) if not re.fullmatch(r"trial \d+", each)]
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    parts = [str(low) if low == high else f"{low}-{high}" for low, high in spans]
    told = [("trial " if len(numbers) == 1 else "trials ") + ", ".join(parts)] if numbers else []
    return ", ".join(told + others)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns lines of columns, as narrow as their longest cell or a fixed width."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [min(max(len(row[at]) for row in cells), most) for at, most in enumerate(_WIDTHS)]
    lines: list[str] = []
    for row in cells:
        parts = [textwrap.wrap(text, width) or [""] for text, width in zip(row, widths, strict=True)]
        for at in range(max(map(len, parts))):
            line = _GAP.join(
                (part[at] if at < len(part) else "").ljust(w) for part, w in zip(parts, widths, strict=True)
            )
            lines.append(line.rstrip())
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
