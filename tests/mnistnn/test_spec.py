from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Annotated

import pytest

from mnistnn.domains import IntRange
from mnistnn.errors import SpecError
from mnistnn.spec import Spec


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
