"""What an ensemble would be and what it is worth by the images that choose; the test images stay closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mnistnn.types import Floats, Ints
from sweeps.ensemble.carried import Carried, temperature_here
from sweeps.ensemble.choice import Choice
from sweeps.ensemble.evaluate import Interval, score, share_interval
from sweeps.ensemble.methods import MethodScore
from sweeps.ensemble.temperature import tempered
from sweeps.ensemble.wording import (
    SHORT,
    answers_text,
    choice_text,
    images_that_chose,
    in_columns,
    methods_lines,
    temperature_lines,
    views_lines,
)
from sweeps.records import to_plain

__all__ = ["Candidate", "Preview", "preview"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A member that would be, or all of them together.

    Attributes:
        name: "#017"; "ensemble" of all.
        label: its architecture; "" of all.
        weight: in the average.
        images: how many it has answered of those that choose.
        accuracy: on these.
        loss: the mean cross-entropy on these: a member's as it is, the ensemble's after its temperature.
    """

    name: str
    label: str
    weight: float
    images: int
    accuracy: Interval
    loss: float


@dataclass(frozen=True, slots=True)
class Preview:
    """An ensemble that was chosen and neither tested nor saved.

    Attributes:
        study: the study's name.
        title: "ensemble of 5 · mean".
        method: how the members were weighed.
        choice: from what the members were chosen, in words.
        considered: how many there were to choose from.
        finished: how many trials had finished.
        chosen_by: what the images are called that choose.
        answers: how many members have answered one of these, on average.
        members: they, the best first.
        ensemble: all together.
        methods: what each way of weighing is worth.
        temperature: the ensemble's.
        carried: how that was carried over from the search; None where it was fitted.
        tta: by how many pixels images are shifted for the views that members average.
        tta_gain: by how much views lower the loss; None without them.
    """

    study: str
    title: str
    method: str
    choice: str
    considered: int
    finished: int
    chosen_by: str
    answers: float
    members: tuple[Candidate, ...]
    ensemble: Candidate
    methods: tuple[MethodScore, ...]
    temperature: float
    carried: Carried | None
    tta: int
    tta_gain: Interval | None

    def text(self) -> str:
        """Returns what a user reads."""
        return "\n".join(self._lines())

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return to_plain(self)

    def _lines(self) -> Iterator[str]:
        by, count = self.chosen_by, len(self.members)
        part = SHORT[by]
        head = ["", "net", "weight", "images", f"{part} acc", "95 % interval", f"{part} loss"]
        table = in_columns([head, *map(_row, (*self.members, self.ensemble))], left=(0, 1))
        yield f"{self.title} · study {self.study} ({self.choice})"
        yield ""
        yield from table[:-1]
        yield "─" * max(map(len, table))
        yield table[-1]
        yield from filter(None, [answers_text(self.answers, count, by)])
        yield ""
        yield from methods_lines(self.methods, self.method, self.answers, count, by)
        yield from temperature_lines(self.temperature, self.carried, self.answers, count, by)
        yield from views_lines(self.tta, self.tta_gain, by)
        yield "nothing was saved, and no test image was opened; without --no-test this ensemble is scored and kept."


def preview(chosen: Choice) -> Preview:
    """Returns what is known of a chosen ensemble by the images that chose it."""
    ensemble, evidence = chosen.ensemble, chosen.evidence
    labels, ours = evidence.labels, evidence.combine(ensemble.weights)
    ours = tempered(ours, temperature_here(ensemble.temperature, chosen.carried, labels, ours))
    members = tuple(
        _candidate(member.name, member.label, weight, *evidence.member(index))
        for index, (member, weight) in enumerate(zip(ensemble.members, ensemble.weights, strict=True))
    )
    return Preview(
        study=ensemble.study,
        title=f"ensemble of {len(members)} · {chosen.method}",
        method=chosen.method,
        choice=choice_text(
            ensemble.study,
            ensemble.members,
            chosen.stage,
            chosen.method,
            considered=chosen.considered,
            finished=chosen.finished,
            is_named=chosen.is_named,
            answers=evidence.answers,
        ),
        considered=chosen.considered,
        finished=chosen.finished,
        chosen_by=images_that_chose(chosen.stage),
        answers=evidence.answers,
        members=members,
        ensemble=_candidate("ensemble", "", 1.0, labels, ours),
        methods=chosen.scores,
        temperature=ensemble.temperature,
        carried=chosen.carried,
        tta=ensemble.tta,
        tta_gain=chosen.tta_gain,
    )


def _candidate(name: str, label: str, weight: float, labels: Ints, probs: Floats) -> Candidate:
    found = score(labels, probs)
    return Candidate(name, label, weight, len(labels), share_interval(found.accuracy, len(labels)), found.loss)


def _row(each: Candidate) -> list[str]:
    ends = f"{100 * each.accuracy.low:.2f} – {100 * each.accuracy.high:.2f} %"
    share = f"{100 * each.accuracy.estimate:.2f} %"
    weight = f"{each.weight:.2f}" if each.label else ""
    return [each.name, each.label, weight, f"{each.images:,}", share, ends, f"{each.loss:.4f}"]
