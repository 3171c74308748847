"""Words and tables on how an ensemble was chosen, for its report and for its preview."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sweeps.ensemble.carried import Carried, is_few
from sweeps.ensemble.evaluate import Interval
from sweeps.ensemble.members import Member
from sweeps.ensemble.methods import MethodScore

__all__ = [
    "METHOD_HEAD",
    "SHORT",
    "answers_text",
    "choice_text",
    "images_that_chose",
    "in_columns",
    "interval_text",
    "is_compared",
    "is_partial",
    "method_rows",
    "methods_lines",
    "ranked_by",
    "temperature_lines",
    "views_lines",
]

#: The heads of the columns of `method_rows`, but for the first.
METHOD_HEAD = ("members", "loss", "accuracy", "loss below the mean's")
#: What images that chose are called where a column's head has little room.
SHORT = {"validation": "val", "out-of-fold": "oof", "held-out": "held"}


def in_columns(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """Returns rows of cells in columns, those at the places `left` to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def interval_text(interval: Interval, digits: int) -> str:
    """Returns "+0.12 [-0.03, +0.27]"."""
    ends = (interval.estimate + 0.0, interval.low + 0.0, interval.high + 0.0)  # no minus zero
    estimate, low, high = (f"{end:+.{digits}f}" for end in ends)
    return f"{estimate} [{low}, {high}]"


def images_that_chose(stage: str) -> str:
    """Returns what the images are called by which members of a stage are chosen, weighed and calibrated."""
    return {"final": "out-of-fold", "mixed": "held-out"}.get(stage, "validation")


def ranked_by(members: Sequence[Member], stage: str, answers: float | None) -> str:
    """Returns by what members are sorted: "calibrated validation loss", which is that after a temperature each.

    Args:
        members: they.
        stage: "search", "final" or "mixed".
        answers: how many of them have answered one of the images that chose; None in old records, of which those of a
            final stage have their members by their own losses.
    """
    calibrated = (
        "calibrated " if all(each.calibrated_loss is not None for each in members) else ""
    )  # not so in old ones
    network = ", its network's first" if stage == "final" and answers is not None else ""
    return f"{calibrated}{images_that_chose(stage)} loss{network}"


def choice_text(
    study: str,
    members: Sequence[Member],
    stage: str,
    method: str,
    *,
    considered: int,
    finished: int,
    is_named: bool,
    answers: float | None,
) -> str:
    """Returns what members were chosen from: "the best 5 of 9 finished trials by calibrated validation loss".

    Args:
        study: the name of the study whose ensemble it is.
        members: those that count in the average.
        stage: "search", "final" or "mixed".
        method: how they were weighed.
        considered: how many there were to choose from.
        finished: how many trials had finished.
        is_named: whether the trials were named, and not the best taken.
        answers: as `ranked_by` has it.
    """
    if not all(each.is_own for each in members):
        studies = [study, *sorted({each.study for each in members} - {""})]
        outside = sum(bool(each.outside) for each in members)
        text = f"of {considered} candidates, trials of {' and '.join(studies)}"
        return text + (f" and {outside} from outside" if outside else "")
    what = ("member" if stage == "final" else "trial") + ("" if finished == 1 else "s")
    if stage == "final":
        what += " of the final stage"
    text = f"the best {considered} of {finished} finished {what} by {ranked_by(members, stage, answers)}"
    if is_named:
        text = f"{considered} of {finished} finished {what}, as named"
    elif stage == "final" and considered == finished:
        text = f"all {finished} finished {what}"
    left_out = considered - len(members)
    return text + (f", {left_out} of them left out by {method} selection" if left_out else "")


def is_partial(answers: float | None, members: int) -> bool:
    """Says whether fewer members have answered an image that chose than there are; not where that is not known."""
    return answers is not None and answers < members


def is_compared(answers: float | None, members: int) -> bool:
    """Says whether the gain over the best member is known: where no image has two answers, a net gains over itself."""
    return answers != 1 or members == 1


def answers_text(answers: float | None, members: int, by: str) -> str:
    """Returns how many members have answered an image that chose; "" where all have, or it is not known."""
    if not is_partial(answers, members):
        return ""
    return f"an {by} image has the answers of {answers:.1f} of the {members} members on average"


def method_rows(scores: Sequence[MethodScore], method: str) -> list[list[str]]:
    """Returns a row for each way of weighing, the arrow before the one that was taken."""
    return [
        [
            f"{'→' if each.method == method else ' '} {each.method}",
            str(each.members),
            f"{each.loss:.4f}",
            f"{100 * each.accuracy:.2f} %",
            "" if each.method == "mean" else interval_text(each.gain, 5),
        ]
        for each in scores
    ]


def methods_lines(
    scores: Sequence[MethodScore], method: str, answers: float | None, members: int, by: str
) -> list[str]:
    """Returns the table of the ways of weighing, or why they were not compared, where that is known."""
    if scores:
        rows = in_columns([["  method", *METHOD_HEAD], *method_rows(scores, method)], left=(0,))
        return [f"ways of weighing, each scored on {by} images that it was not fitted on:", *rows]
    if not is_partial(answers, members):
        return []
    return [f"ways of weighing were not compared: most {by} images have one answer, and can tell none from another."]


def temperature_lines(
    temperature: float, carried: Carried | None, answers: float | None, members: int, by: str
) -> list[str]:
    """Returns what the ensemble's temperature is and where it comes from; nothing where it changes nothing."""
    if temperature == 1.0:
        return []
    start = f"temperature {temperature:.4g}"
    effect = "it changes how sure the ensemble is, and no answer."
    if carried is not None:
        return [
            f"{start} = {carried.single:.4g} × {carried.ratio:.4g}: {effect}",
            f"  {carried.single:.4g} fits single nets on the {by} images, which have too few answers each to average;",
            f"  {carried.ratio:.4g} is what averaging {carried.trials} of the search's trials does to theirs.",
        ]
    if answers is None or not is_few(answers, members):
        return [f"{start}, fitted on the {by} images after averaging: {effect}"]
    return [
        f"{start}, fitted on the {by} images: {effect}",
        f"  for an average of {members} it is too high: those images have {answers:.1f} answers "
        "each, and no search was there to go by.",
    ]


def views_lines(pixels: int, gain: Interval | None, by: str) -> list[str]:
    """Returns what views members average, and what they are worth; nothing without any."""
    if not pixels:
        return []
    far = f"{pixels} pixel" + ("s" if pixels > 1 else "")
    lines = [f"members average five views: the image, and it shifted by {far} in four directions."]
    if gain is not None:
        lines.append(f"on the {by} images views lower the loss by {interval_text(gain, 5)}.")
    return lines
