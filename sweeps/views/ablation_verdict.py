"""Whether what a page says of arms holds, by conditions that stand in the page before the arms are trained.

A condition is a sum or a difference of arms, a figure, a sign and a bound in the figure's unit, such as
`dense - conv val_accuracy < -0.5` or `a - b - c + d gap > 0`. It is taken seed by seed, and met where the 95 %
t-interval of its mean lies wholly beyond the bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from mnistnn.errors import nearest
from sweeps.config.fault import shown
from sweeps.ensemble.difference import mean_interval
from sweeps.ensemble.evaluate import Interval
from sweeps.errors import ConfigError
from sweeps.views.ablation import Ablation
from sweeps.views.ablation_figures import change_text, figure_named

__all__ = ["Answer", "Condition", "WORDS", "combined", "judge", "read_conditions"]

Answer: TypeAlias = Literal["yes", "no", "partly", "open"]

WORDS: Final[dict[Answer, str]] = {
    "yes": "holds",
    "no": "does not hold",
    "partly": "holds in part",
    "open": "undecided",
}

_CONDITION = re.compile(r"(?P<arms>\S.*?)\s+(?P<figure>\w+)\s+(?P<sign>[<>])\s+(?P<bound>[-+]?\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that must be so of arms.

    Attributes:
        arms: each with 1 or -1.
        figure: the figure's name.
        above: whether it must lie above the bound, or below.
        bound: in the figure's unit.
    """

    arms: tuple[tuple[int, str], ...]
    figure: str
    above: bool
    bound: float

    def interval(self, found: Ablation) -> Interval | None:
        """Returns what it comes to over the seeds that all of its arms have; None for fewer than two."""
        known = {arm.name: arm.values.get(self.figure, {}) for arm in found.arms}
        values = [(sign, known[name]) for sign, name in self.arms]
        seeds = [seed for seed in values[0][1] if all(seed in each for _, each in values)]
        return mean_interval([sum(sign * each[seed] for sign, each in values) for seed in seeds])

    def answer(self, found: Ablation) -> Answer:
        """Says whether it is met: "open" where the interval holds the bound, or there is none."""
        interval, factor = self.interval(found), figure_named(self.figure).factor
        if interval is None:
            return "open"
        low, high = factor * interval.low, factor * interval.high
        if low > self.bound or high < self.bound:
            return "yes" if (low > self.bound) == self.above else "no"
        return "open"

    def text(self, found: Ablation) -> str:
        """Returns a line of Markdown: what it is about, what it came to, the bound, and the answer."""
        figure, interval = figure_named(self.figure), self.interval(found)
        terms = [f"{' + ' if sign > 0 else ' − '}`{name}`" for sign, name in self.arms]
        expression = "".join(terms).removeprefix(" + ").strip()
        came = "too few seeds" if interval is None else change_text(interval, figure)
        wanted = f"{'above' if self.above else 'below'} {self.bound:g}"
        answer = {"yes": "yes", "no": "no", "open": "undecided"}[self.answer(found)]
        return f"- {expression}: {figure.title} {came}, {wanted}: {answer}".replace(" -", " −").replace("[-", "[−")


def read_conditions(text: str, found: Ablation) -> list[Condition]:
    """Reads conditions with semicolons between.

    Raises:
        ConfigError: one is none, or names an arm or a figure that there is not.
    """
    return [_read(part.strip(), found) for part in text.split(";")]


def _read(text: str, found: Ablation) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"a condition must be like `dense - conv val_accuracy < -0.5`, but got {shown(text)}; correct it."
        )
    figure_named(match["figure"])
    known = [arm.name for arm in found.arms]
    arms: list[tuple[int, str]] = []
    sign: int | None = 1
    for word in match["arms"].split():
        if word in ("+", "-") and sign is None:
            sign = 1 if word == "+" else -1
        elif sign is not None and word in known:
            arms.append((sign, word))
            sign = None
        elif word in known:
            raise ConfigError(f"a condition must have + or - between its arms, but got {shown(match['arms'])}; add it.")
        else:
            remedy = nearest(word, known)
            raise ConfigError(f"a condition must be of arms of {found.study!r}, but {word!r:.60} is none; {remedy}")
    if sign is not None:
        raise ConfigError(f"a condition must end its sum with an arm, but got {shown(match['arms'])}; correct it.")
    return Condition(arms=tuple(arms), figure=match["figure"], above=match["sign"] == ">", bound=float(match["bound"]))


def judge(answers: Sequence[Answer], *, all_of: bool) -> Answer:
    """Returns what the answers to conditions come to, of which all must be met, or one."""
    if all_of:
        return "yes" if set(answers) == {"yes"} else "no" if "no" in answers else "open"
    return "yes" if "yes" in answers else "no" if set(answers) == {"no"} else "open"


def combined(answers: Iterable[Answer]) -> Answer:
    """Returns what several parts of one sentence come to."""
    known = set(answers)
    if len(known) == 1:
        return known.pop()
    return "open" if known <= {"open", "no"} else "partly"
