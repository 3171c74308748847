"""The arms of a study as Markdown: a page of its own, or tables between the marks of a page that is there.

A mark is `<!-- ablation -->`, or with its arms and figures `<!-- ablation dense wide: val_loss gap -->`; what stands
from there to `<!-- /ablation -->` is replaced. One that names no arm shows all, and says of what study.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mnistnn.errors import nearest
from mnistnn.files import atomic_write
from sweeps.config.duration import clock
from sweeps.errors import ConfigError
from sweeps.views.ablation import SHOWN, Ablation, ArmResult, Difference, change_text, figure_named

__all__ = ["fill", "render_page", "write_page"]

_MARKS = re.compile(r"(<!-- ablation\b([^:>]*?)(?::([^>]*?))? -->\n).*?(<!-- /ablation -->)", re.DOTALL)
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
    """Returns a page with new tables between its marks, and how many there are.

    Raises:
        ConfigError: a mark names an arm or a figure that there is not.
    """

    def replaced(match: re.Match[str]) -> str:
        begin, arms, figures, end = match.groups()
        chosen = [_arm(name, found) for name in arms.split()] or found.arms
        lines = [] if arms.split() else [*_head(found), ""]
        lines += _table(found, chosen, (figures or "").split() or SHOWN)
        return "\n".join([begin.rstrip("\n"), *lines, end])

    return _MARKS.subn(replaced, page)


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
            yield f"| `{arm.name}` − `{difference.against}` | | {pairs} | {' | '.join(cells)} |"


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
