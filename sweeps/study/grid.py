"""The points of a grid: every possible combination of a study's values."""

from __future__ import annotations

from typing import Any

from mnistnn.domains import Choice, Domain, FloatRange
from sweeps.config.fault import Fault
from sweeps.errors import ConfigError
from sweeps.study.space import Space, Values

__all__ = ["grid_points"]

_LARGEST_GRID = 100_000


def grid_points(space: Space) -> list[Values]:
    """Returns every possible point of an enumerated space once, as the values that are asked for.

    Raises:
        ConfigError: a domain is a range without steps, or there are too many points.
    """
    try:
        space.config.search_space().check_enumerated()
    except Fault as fault:
        raise ConfigError(f"study {space.config.name!r}: {fault}") from None
    # Depth first: `answers` holds which of how many values each question of a walk is answered with.
    answers: list[tuple[int, int]] = []
    found: list[Values] = []
    for _ in range(_LARGEST_GRID):
        asked: Values = {}
        values = space.walk(_Answering(answers, asked))
        if space.impossible(values) is None:
            found.append(asked)
        while answers and answers[-1][0] + 1 == answers[-1][1]:
            answers.pop()
        if not answers:
            return found
        index, count = answers.pop()
        answers.append((index + 1, count))
    raise ConfigError(f"a grid must have at most {_LARGEST_GRID:,} points, but this has more; search fewer values.")


class _Answering:
    """Answers a walk's questions as `answers` says, and each one after those with its first value."""

    def __init__(self, answers: list[tuple[int, int]], asked: Values) -> None:
        self._answers = answers
        self._asked = asked

    def __call__(self, name: str, domain: Domain) -> Any:
        points = _points(domain)
        place = len(self._asked)
        if place == len(self._answers):
            self._answers.append((0, len(points)))
        self._asked[name] = points[self._answers[place][0]]
        return self._asked[name]


def _points(domain: Domain) -> list[Any]:
    if isinstance(domain, Choice):
        return list(domain.values)
    if isinstance(domain, FloatRange):
        assert domain.step is not None  # for mypy: checked before the walk
        count = round((domain.high - domain.low) / domain.step) + 1
        return [min(domain.low + index * domain.step, domain.high) for index in range(count)]
    return list(range(domain.low, domain.high + 1, domain.step))
