"""What of a study's trials differs from one to another: the columns and the axes of whoever shows them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from mnistnn.domains import Choice, Domain, FloatRange
from sweeps.study.labels import block_columns
from sweeps.study.space import Space

__all__ = ["Columns", "differs", "searched_columns"]

_DRAWS = 200
_MOST_WORDS = 20  # on one axis, if they are to be read


class Columns(NamedTuple):
    """Names of params, as `Space.plain` has them.

    Attributes:
        searched: those that differ.
        axes: those of them that every trial has, either all as numbers or all as a few words.
    """

    searched: list[str]
    axes: list[str]


def searched_columns(space: Space) -> Columns:
    """Returns the columns of a study's trials, found from draws: what depends on what is only known by walking."""
    generator = np.random.default_rng(0)
    if (ablation := space.config.ablation()) is not None:
        draws = [space.plain(space.values({}, arm.overrides)) for arm in ablation.arms]
    else:
        draws = [space.plain(space.walk(lambda name, domain: _draw(generator, domain))) for _ in range(_DRAWS)]
    names = dict.fromkeys(name for draw in draws for name in draw if name != "architecture")  # which a run's name tells
    values = {name: [draw[name] for draw in draws if name in draw] for name in names}
    searched = [name for name in names if differs(name, values[name])]
    axes = [name for name in searched if len(values[name]) == len(draws) and _is_axis(values[name])]
    return Columns(searched, axes)


def differs(name: str, values: Iterable[Any]) -> bool:
    """Says whether a column has several values. Of a block's field "1-1" and "1-1-1" are one: `blocks` differs there.

    Args:
        name: as `Space.plain` has it.
        values: those of all trials that have it.
    """
    if name not in block_columns().values():
        return len({repr(value) for value in values}) > 1
    parts = [str(value).split("-") for value in values]
    return any(len(set(block) - {None}) > 1 for block in itertools.zip_longest(*parts))


def _is_axis(values: list[Any]) -> bool:
    """Returns whether values are all numbers, or few words: "8" and "8-16" are neither."""
    numbers = sum(_is_number(value) for value in values)
    return numbers == len(values) or (numbers == 0 and len(set(values)) <= _MOST_WORDS)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False  # shown as a word
    try:
        float(value)
    except ValueError:
        return False
    return True


def _draw(generator: np.random.Generator, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return domain.values[int(generator.integers(len(domain.values)))]
    if isinstance(domain, FloatRange):
        return float(generator.uniform(domain.low, domain.high))
    return domain.low + domain.step * int(generator.integers((domain.high - domain.low) // domain.step + 1))
