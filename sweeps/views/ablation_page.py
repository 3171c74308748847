"""The arms of a study as Markdown: a page of its own, or what stands between the marks of a page that is there.

A table's mark is `<!-- ablation -->`, or with its arms and figures `<!-- ablation dense wide: val_loss gap -->`; what
stands from there to `<!-- /ablation -->` is replaced. One that names no arm shows all, and says of what study.

A verdict's is `<!-- holds if all: dense - conv val_accuracy < -0.5; … -->`, or `if any`, to `<!-- /holds -->`;
`ablation_verdict` says what can be a condition. `<!-- verdicts -->` to `<!-- /verdicts -->` becomes a table of all
headings that have verdicts below them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mnistnn.errors import nearest
from mnistnn.files import atomic_write
from sweeps.config.duration import clock
from sweeps.errors import ConfigError
from sweeps.views.ablation import Ablation, ArmResult, Difference
from sweeps.views.ablation_figures import SHOWN, change_text, figure_named
from sweeps.views.ablation_verdict import WORDS, Answer, combined, judge, read_conditions

__all__ = ["fill", "render_page", "write_page"]

_TABLES = re.compile(r"(<!-- ablation\b([^:>]*?)(?::([^>]*?))? -->\n).*?(<!-- /ablation -->)", re.DOTALL)
_VERDICTS = re.compile(r"(<!-- holds if (all|any): ((?:(?!-->).)*?) -->\n).*?(<!-- /holds -->)", re.DOTALL)
_SUMMARY = re.compile(r"(<!-- verdicts -->\n).*?(<!-- /verdicts -->)", re.DOTALL)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_LARGEST_BYTES = 1 << 20


def render_page(found: Ablation) -> str:
    """Returns a page on all arms, in the figures that any of them has."""
    names = [name for arm in found.arms for name in arm.values]
    figures = list(dict.fromkeys([*SHOWN, *names]))
    return "\n".join([f"# The arms of `{found.study}`", "", *_head(found), "", *_table(found, found.arms, figures), ""])


def write_page(path: Path, found: Ablation) -> int:
    """Writes the page; one that is there already keeps all but what stands between its marks.

    Args:
        path: the file.
        found: what the arms come to.

    Returns:
        How many marks there were; 0 for a page of its own.

    Raises:
        ConfigError: a mark names an arm or a figure that there is not, or the file is not such as people write.
        OutputError: it cannot be written.
    """
    text, marks = render_page(found), 0
    if path.is_file():
        try:
            if path.stat().st_size > _LARGEST_BYTES:
                raise ValueError("more than a megabyte")
            known = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"a page must be readable, but {path} is not ({reason}); name another file.") from None
        filled, marks = fill(known, found)
        text = filled if marks else text
    with atomic_write(path, "w") as file:
        file.write(text)
    return marks


def fill(page: str, found: Ablation) -> tuple[str, int]:
    """Returns a page with new tables and verdicts between its marks, and how many there are.

    Raises:
        ConfigError: a mark names an arm or a figure that there is not, or is no condition.
    """

    def replaced(match: re.Match[str]) -> str:
        begin, arms, figures, end = match.groups()
        chosen = [_arm(name, found) for name in arms.split()] or found.arms
        lines = [] if arms.split() else [*_head(found), ""]
        lines += _table(found, chosen, (figures or "").split() or SHOWN)
        return "\n".join([begin.rstrip("\n"), *lines, end])

    def judged(match: re.Match[str]) -> str:
        begin, kind, text, end = match.groups()
        lines = [condition.text(found) for condition in read_conditions(text, found)]
        return "\n".join(
            [begin.rstrip("\n"), "", f"**{WORDS[_answer(kind, text, found)].capitalize()}.**", "", *lines, "", end]
        )

    def summed(match: re.Match[str]) -> str:
        lines = ["", "| | |", "|---|---|", *(f"| {title} | {word} |" for title, word in _verdicts(page, found)), ""]
        return "\n".join([match[1].rstrip("\n"), *lines, match[2]])

    count = 0
    for pattern, replace in ((_TABLES, replaced), (_VERDICTS, judged), (_SUMMARY, summed)):
        page, marks = pattern.subn(replace, page)
        count += marks
    return page, count


def _answer(kind: str, text: str, found: Ablation) -> Answer:
    answers = [condition.answer(found) for condition in read_conditions(text, found)]
    return judge(answers, all_of=kind == "all")


def _verdicts(page: str, found: Ablation) -> Iterator[tuple[str, str]]:
    """Yields the headings that have verdicts below them, and what these come to."""
    starts = [match.start() for match in _HEADING.finditer(page)]
    for start, end in zip(starts, [*starts[1:], len(page)], strict=True):
        section = page[start:end]
        answers = [_answer(kind, text, found) for _, kind, text, _ in _VERDICTS.findall(section)]
        if answers and (title := _HEADING.match(section)) is not None:
            yield title[1], WORDS[combined(answers)]


def _arm(name: str, found: Ablation) -> ArmResult:
    for arm in found.arms:
        if arm.name == name:
            return arm
    remedy = nearest(name, [arm.name for arm in found.arms])
    raise ConfigError(f"a page's mark must name arms of {found.study!r}, but {name!r:.60} is none; {remedy}")


def _head(found: Ablation) -> Iterator[str]:
    commit = "no commit" if found.commit is None else f"commit {found.commit}"
    images = f", images of {found.data}" if found.data else ""
    yield (
        f"Study `{found.study}`: {len(found.arms)} arms by {found.seeds} seeds (study seed {found.seed}), "
        f"{found.epochs} epochs each{images}, {commit}, {clock(found.elapsed_s)} in all."
    )
    yield (
        "Mean ± half of a 95 % t-interval over seeds; below, differences in pairs of the same seed with Student's 95 % "
        "interval, bold where p < 0.05 after Holm's correction for all of the study's differences in that figure."
    )
    if found.missing:
        yield f"**{found.missing} trainings have not ended.**"


def _table(found: Ablation, arms: Sequence[ArmResult], names: Sequence[str]) -> Iterator[str]:
    figures = {name: figure_named(name) for name in names}
    yield f"| | network | seeds | {' | '.join(figure.title for figure in figures.values())} |"
    yield f"|---|---|--:|{'--:|' * len(figures)}"
    for arm in arms:
        seeds = f"{len(arm.trials)}" + (f", {arm.diverged} diverged" if arm.diverged else "")
        cells = [_mean(arm, name) for name in figures]
        yield f"| `{arm.name}` | {arm.network} | {seeds} | {' | '.join(cells)} |"
    shown = {arm.name for arm in arms}
    for difference in found.differences:
        if difference.arm in shown and difference.against in shown:
            cells = [_change(difference, name) for name in figures]
            pairs = max(difference.pairs[name] for name in figures)
            yield f"| `{difference.arm}` − `{difference.against}` | | {pairs} | {' | '.join(cells)} |"


def _mean(arm: ArmResult, name: str) -> str:
    figure, mean = figure_named(name), arm.means.get(name)
    if mean is None:
        return ""
    ends = (figure.factor * mean.estimate, figure.factor * (mean.high - mean.estimate))
    return " ± ".join(f"{each:.{figure.digits}f}" for each in ends)


def _change(difference: Difference, name: str) -> str:
    if name not in difference.contrasts:
        return ""
    text = change_text(difference.contrasts[name].difference, figure_named(name)).replace("-", "−")
    return f"**{text}**" if difference.differs(name) else text
