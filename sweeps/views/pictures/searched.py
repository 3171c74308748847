"""What was searched in a study, as its trials' distributions tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

__all__ = ["Parameter", "searched_parameters"]

_FEW = 6  # whole numbers that are as good as choices


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that was searched.

    Attributes:
        name: what it is called, without its Spec's name where that is clear.
        choices: what it may be, in order, if it is one of a few, numbers of a short range included; else empty.
        low: the least it may be, if it is a number of a range; a baseline may lie outside.
        high: the greatest.
        log: whether the range is logarithmic.
        is_whole: whether it has whole numbers only.
        distribution: Optuna's, if it is the same one in all trials; else None.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    is_whole: bool = False
    distribution: BaseDistribution | None = None


def searched_parameters(trials: Iterable[FrozenTrial], bare: Mapping[str, str]) -> list[Parameter]:
    """Returns what was searched; the learning rates of several optimizers are one, as in a table of trials."""
    known: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            seen = known.setdefault(bare.get(name, name), [])
            if distribution not in seen:
                seen.append(distribution)
    return [_parameter(name, seen) for name, seen in known.items() if not all(each.single() for each in seen)]


def _parameter(name: str, seen: Sequence[BaseDistribution]) -> Parameter:
    only = seen[0] if len(seen) == 1 else None
    ranges = [each for each in seen if isinstance(each, FloatDistribution | IntDistribution)]
    if ranges and len(ranges) == len(seen):
        return Parameter(
            name,
            low=min(each.low for each in ranges),
            high=max(each.high for each in ranges),
            log=any(each.log for each in ranges),
            is_whole=all(isinstance(each, IntDistribution) for each in ranges),
            choices=_few(ranges),
            distribution=only,
        )
    choices: list[Any] = []
    for each in seen:
        found = each.choices if isinstance(each, CategoricalDistribution) else ()
        choices += [value for value in found if not _is_in(value, choices)]
    return Parameter(name, choices=tuple(choices), distribution=only)


def _few(ranges: Sequence[FloatDistribution | IntDistribution]) -> tuple[int, ...]:
    """Returns the numbers that whole ranges allow, if they are so few that they are as good as choices."""
    values: set[int] = set()
    for each in ranges:
        if not isinstance(each, IntDistribution) or each.high - each.low >= _FEW * each.step:
            return ()
        values.update(range(each.low, each.high + 1, each.step))
    return tuple(sorted(values)) if len(values) <= _FEW else ()


def _is_in(value: Any, known: Iterable[Any]) -> bool:
    """Says whether a value is among those known; 1 is not taken for true."""
    return any(type(value) is type(each) and value == each for each in known)
