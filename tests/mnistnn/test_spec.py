from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated

import pytest

from mnistnn.domains import Choice, IntRange
from mnistnn.errors import SpecError
from mnistnn.spec import Spec, later


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandwich(Spec):
    """Bread with something."""

    slices: Annotated[int, IntRange(2, 4)] = 2
    filling: str = "cheese"


def test_values_are_checked_when_it_is_made() -> None:
    assert Sandwich(slices=3).slices == 3
    with pytest.raises(SpecError, match=r"`slices` must be a whole number from 2 to 4, but got 5\."):
        Sandwich(slices=5)


def test_it_is_a_value() -> None:
    assert Sandwich() == Sandwich(slices=2)
    assert hash(Sandwich()) == hash(Sandwich())
    with pytest.raises(FrozenInstanceError):
        Sandwich().slices = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Sandwich(3)  # type: ignore[misc]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wine(Spec):
    """As its label has it."""

    year: Annotated[int, IntRange(1900, 2100)] = 2020
    cork: Annotated[bool, Choice(True, False)] = later(True)


def test_what_came_later_is_written_only_where_it_is_said() -> None:
    assert Wine().written() == {"year": 2020}
    assert Wine(cork=False).written() == {"year": 2020, "cork": False}
    with pytest.raises(SpecError, match="cork"):
        Wine(cork=3)  # type: ignore[arg-type]
