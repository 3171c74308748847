"""The report on an ensemble: as text for a terminal, as Markdown, and the confusion matrix as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnistnn.files import atomic_write
from sweeps.ensemble.evaluate import Interval
from sweeps.ensemble.probs import PROBS
from sweeps.ensemble.record import RECORD, EnsembleReport, Gain, Scores, save_report
from sweeps.ensemble.wording import (
    METHOD_HEAD,
    SHORT,
    answers_text,
    in_columns,
    interval_text,
    is_compared,
    method_rows,
    methods_lines,
    temperature_lines,
    views_lines,
)

__all__ = ["FILES", "as_markdown", "as_text", "copy_file", "write_files"]

#: An ensemble's files. The record comes last: where it is, the others are.
FILES = (PROBS, "confusion.csv", "report.md", RECORD)

_SHOWN_CONFUSIONS = 5
_FLATTERY = {
    "validation": "Members were chosen by validation loss, each after a temperature of its own, and each kept its "
    "epoch of least validation loss, so validation figures flatter them all.",
    "out-of-fold": "Out-of-fold: each image was answered by the members that were not trained on it, so by fewer than "
    "will answer for others. No epoch was chosen by these images; those that were the search's validation images have "
    "ranked its trials, and so chosen the networks.",
    "held-out": "Held-out: each image was answered by the members that were not trained on it; those of a search kept "
    "their epoch of least validation loss, which flatters them, and those from outside have their own word for it.",
}
_ONE_ANSWER = "not known: no image has more answers than one"


def as_text(report: EnsembleReport) -> str:
    """Returns the report for a terminal."""
    by, count = report.chosen_by, len(report.members)
    part = SHORT[by]
    table = in_columns(
        [["", "net", "weight", f"{part} acc", f"{part} loss", "test acc", "test loss"], *_rows(report)], left=(0, 1)
    )
    rule = "─" * max(map(len, table))
    lines = [
        f"{report.title} · study {report.study} ({report.choice})",
        "",
        *table[:-1],
        rule,
        table[-1],
        *filter(None, [answers_text(report.answers, count, by)]),
        "",
        *_gains(report),
        *methods_lines(report.methods, report.method, report.answers, count, by),
        *temperature_lines(report.temperature, report.carried, report.answers, count, by),
        *views_lines(report.tta, report.tta_gain, by),
        f"most confused on test: {_confusions(report) or 'nothing'}",
        _opened(report.test_openings),
        f"saved in studies/{report.study}/ensemble/" + (f", registered as {report.model}" if report.model else ""),
    ]
    return "\n".join(lines)


def as_markdown(report: EnsembleReport) -> str:
    """Returns the report as Markdown, with how to read it."""
    by = report.chosen_by
    part = SHORT[by]
    head = ["trial", "net", "weight", f"{part} accuracy", f"{part} loss", "test accuracy", "test loss"]
    table = [_markdown_row(head), "|---|---|" + "--:|" * 5]
    rows = _rows(report)
    table += [_markdown_row(row) for row in rows[:-1]]
    table.append(_markdown_row([f"**{cell}**" if cell else "" for cell in rows[-1]]))
    digits = range(len(report.confusion))
    confusion = [_markdown_row(["label \\ predicted", *map(str, digits)]), "|---|" + "--:|" * len(digits)]
    confusion += [_markdown_row([f"**{i}**", *map(str, row)]) for i, row in enumerate(report.confusion)]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    count = len(report.members)
    ends = temperature_lines(report.temperature, report.carried, report.answers, count, by)
    ends += views_lines(report.tta, report.tta_gain, by)
    parts = [
        f"# {report.title[0].upper()}{report.title[1:]}",
        f"Study `{report.study}`: {report.choice}.",
        "\n".join(table),
        f"## Gain over {report.best.member.name}",
        f"- {by}: {_val_gain(report)}\n- test: {_gain(report.test_gain)}",
        "In brackets: 95 % intervals, paired over the same images. Accuracy: adjusted Wald interval (Bonett and Price "
        "2012). Loss, after a temperature for each: percentile bootstrap of 2,000 resamples of the images. They tell "
        "what other images would have changed, not what other seeds would have.",
        f"{_FLATTERY[by]} {_counts(report)}No test figure chose anything here. The best member is the best by "
        f"{report.ranked_by}, never by test. The test images of this data set had been opened "
        f"{_times(report.test_openings)} when it was scored.",
        *_methods_markdown(report),
        *filter(None, [" ".join(map(str.strip, ends))]),
        "## Test images by label and prediction",
        "\n".join(confusion),
        f"Most confused: {_confusions(report) or 'nothing'}.",
        "## Made by",
        f"- data: {report.data['name']}, digest `{str(report.data['digest'])[:12]}`, "
        f"{report.data['validation_images']:,} {by} and {report.data['test_images']:,} test images\n"
        f"- versions: {versions}\n- commit: `{report.commit or 'unknown'}`\n- built: {report.time}",
    ]
    return "\n\n".join(parts) + "\n"


def write_files(report: EnsembleReport, folder: Path) -> None:
    """Writes the report's files, but for the probabilities, which are written when they are computed.

    Raises:
        OutputError: one cannot be written.
    """
    for name, text in (("confusion.csv", _confusion_csv(report)), ("report.md", as_markdown(report))):
        with atomic_write(folder / name, "w") as file:
            file.write(text)
    save_report(report, folder / RECORD)


def copy_file(source: Path, target: Path) -> None:
    """Copies a file whole, or not at all."""
    with atomic_write(target) as file:
        file.write(source.read_bytes())


def _confusion_csv(report: EnsembleReport) -> str:
    """Returns the confusion matrix as CSV: a row for each label, a column for each prediction."""
    header = ",".join(["label", *(f"predicted_{i}" for i in range(len(report.confusion)))])
    rows = [",".join(map(str, [label, *row])) for label, row in enumerate(report.confusion)]
    return "\n".join([header, *rows]) + "\n"


def _gains(report: EnsembleReport) -> list[str]:
    best, by = report.best.member.name, report.chosen_by
    if len(report.members) == 1:
        return [f"{best} is the only member, so there is no gain to speak of."]
    lines = [
        f"gain over {best}, the best by {report.ranked_by} (95 % intervals, paired by image):",
        f"  {by.ljust(10)}  {_val_gain(report)}",
        f"  {'test'.ljust(max(10, len(by)))}  {_gain(report.test_gain)}",
    ]
    if report.val_gain.loss.estimate < 0 and report.stage != "final":  # there, that is one part of the images
        lines.append(f"hint: {best} alone has the lower {by} loss; `--method greedy` leaves out what does not help.")
    return lines


def _rows(report: EnsembleReport) -> list[list[str]]:
    rows = [
        [each.member.name, each.member.label, f"{each.weight:.2f}", *_cells(each.scores)] for each in report.members
    ]
    return [*rows, ["ensemble", "", "", *_cells(report.scores)]]


def _cells(scores: Scores) -> list[str]:
    return [cell for each in (scores.val, scores.test) for cell in (f"{100 * each.accuracy:.2f} %", f"{each.loss:.4f}")]


def _methods_markdown(report: EnsembleReport) -> list[str]:
    by = report.chosen_by
    if not report.methods:
        found = methods_lines((), report.method, report.answers, len(report.members), by)
        return [line[0].upper() + line[1:] for line in found]
    head = ["method", *METHOD_HEAD]
    rows = [
        _markdown_row([f"**{row[0][2:]}**" if row[0].startswith("→") else row[0][2:], *row[1:]])
        for row in method_rows(report.methods, report.method)
    ]
    return [
        "## Ways of weighing",
        "\n".join([_markdown_row(head), "|---|" + "--:|" * 4, *rows]),
        f"Each was fitted, with a temperature, on four fifths of the {by} images and scored on the other "
        "fifth, in turn. The plain mean is taken unless another's gain is clear of zero, or another was asked for.",
    ]


def _counts(report: EnsembleReport) -> str:
    """Returns of how many images a member's own figures are, where it has not answered all."""
    images = int(report.data["validation_images"])
    counts = sorted(each.images for each in report.members if each.images is not None)
    if report.answers is None or counts[0] == images:
        return ""
    own = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
    return (
        f"A member's own figures are of {own} of the {images:,} images; an image has the answers of "
        f"{report.answers:.1f} of the {len(counts)} members on average. "
    )


def _gain(gain: Gain) -> str:
    points = Interval(*(100 * end for end in (gain.accuracy.estimate, gain.accuracy.low, gain.accuracy.high)))
    loss = Interval(-gain.loss.estimate, -gain.loss.high, -gain.loss.low)  # as the change that it is
    return f"accuracy {interval_text(points, 2)} points, loss {interval_text(loss, 4)}"


def _val_gain(report: EnsembleReport) -> str:
    """Returns the gain on the images that chose; where each has one answer, a net was held against itself."""
    return _gain(report.val_gain) if is_compared(report.answers, len(report.members)) else _ONE_ANSWER


def _confusions(report: EnsembleReport) -> str:
    pairs = [
        (count, label, predicted)
        for label, row in enumerate(report.confusion)
        for predicted, count in enumerate(row)
        if count and label != predicted
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    return ", ".join(f"{label} as {predicted} ({count})" for count, label, predicted in pairs[:_SHOWN_CONFUSIONS])


def _opened(openings: int) -> str:
    """Returns how often the test images have been opened, and what that means for whoever reads figures of them."""
    if openings == 1:
        return "test images opened once so far, which is noted; nothing was chosen by them."
    start = f"test images opened {_times(openings)} so far, each time noted; nothing here was chosen by them."
    return f"{start}\n  who chooses between ensembles by these figures does: `ensemble --no-test` shows others."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
