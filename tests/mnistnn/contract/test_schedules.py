"""What every schedule keeps to."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from mnistnn.registry import schedule
from mnistnn.schedules import ScheduleSpec

NAMES = schedule.names()


def make(name: str) -> ScheduleSpec:
    spec = schedule.get(name)()
    assert isinstance(spec, ScheduleSpec)
    return spec


@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 5, 7, 10, 100, 1001])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_finite_part_of_the_learning_rate(name: str, total_steps: int) -> None:
    spec = make(name)
    factors = [spec.factor(step, total_steps) for step in range(total_steps)]
    assert all(type(factor) is float and math.isfinite(factor) and 0 < factor <= 1 for factor in factors)
    assert factors == [spec.factor(step, total_steps) for step in range(total_steps)]
    assert max(factors) > 0.5  # a training of few steps must still learn


@pytest.mark.parametrize("name", NAMES)
def test_longer_trainings_go_the_same_way(name: str) -> None:
    """What counts is the part of the training that is done, so curves of one study can be compared."""
    spec = make(name)
    for step in range(0, 1000, 50):
        assert spec.factor(step, 1000) == pytest.approx(spec.factor(10 * step, 10_000), abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_no_cliff_but_its_own_steps(name: str) -> None:
    spec = make(name)
    jumps = [b - a for a, b in pairwise(spec.factor(step, 2000) for step in range(2000))]
    assert sum(abs(jump) > 0.01 for jump in jumps) <= getattr(spec, "drops", 0)
