from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest

from mnistnn.domains import Choice, Domain, FloatRange, IntRange, domains_of
from mnistnn.errors import SpecError


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (
            FloatRange(0.0, 0.5),
            [0, 0.0, 0.5, 0.25, np.float64(0.1)],
            [-1e-9, 0.6, math.nan, math.inf, True, "0.1", None],
        ),
        (FloatRange(1e-4, 1.0, log=True), [1e-4, 1], [0, 1e-5]),
        (IntRange(1, 7, step=2), [1, 3, 7], [2, 0, 9, 3.0, True, "3", None]),
        (Choice("same", "valid"), ["same"], ["Same", None, 1]),
        (Choice(1, 3), [1, 3], [True, 1.0, 2]),
        (Choice(True, False), [True], [1, 0, "true"]),
    ],
)
def test_contains(domain: Domain, inside: list[Any], outside: list[Any]) -> None:
    assert [domain.contains(value) for value in inside] == [True] * len(inside)
    assert [domain.contains(value) for value in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: FloatRange(1, 0), "low <= high"),
        (lambda: FloatRange(math.nan, 1), "low <= high"),
        (lambda: FloatRange(0, 1, log=True), "low > 0"),
        (lambda: FloatRange(0, 1, step=0), "step > 0"),
        (lambda: FloatRange(0.1, 1, log=True, step=0.1), "step"),
        (lambda: IntRange(2, 1), "low <= high"),
        (lambda: IntRange(0, 4, step=0), "step >= 1"),
        (lambda: IntRange(1, 4, step=2, log=True), "step >= 1"),
        (lambda: Choice(), "at least one"),
        (lambda: Choice(1, 1), "once"),
    ],
)
def test_a_domain_that_makes_no_sense_is_refused(make: Any, rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        make()


def test_domains_read_as_english() -> None:
    assert str(FloatRange(0.0001, 0.1, log=True)) == "a number from 0.0001 to 0.1"
    assert str(IntRange(1, 7, step=2)) == "a whole number from 1 to 7 in steps of 2"
    assert str(Choice("same", "valid")) == "one of 'same', 'valid'"


def test_domains_of_finds_the_annotated_fields_alone() -> None:
    @dataclass
    class Some:
        rate: Annotated[float, "a note", FloatRange(0.0, 1.0)]
        free: int
        noted: Annotated[int, "a note"]

    # Annotations of a local class are strings that name this module's globals.
    assert domains_of(Some) == {"rate": FloatRange(0.0, 1.0)}
