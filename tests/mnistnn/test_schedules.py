"""What is special to each schedule; agreement with PyTorch is in test_against_torch.py."""

from __future__ import annotations

import pytest

from mnistnn.schedules import Constant, Cosine, OneCycle, Step


def test_constant_stays() -> None:
    assert [Constant().factor(step, 5) for step in range(5)] == [1.0] * 5


def test_step_drops_at_equal_parts() -> None:
    factors = [Step(drops=2, gamma=0.1).factor(step, 9) for step in range(9)]
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_cosine_goes_from_one_to_its_end() -> None:
    factors = [Cosine(end=0.2).factor(step, 100) for step in range(100)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.6)
    assert factors[-1] == pytest.approx(0.2, abs=1e-3)
    assert factors == sorted(factors, reverse=True)


def test_one_cycle_starts_peaks_and_ends_where_it_says() -> None:
    cycle = OneCycle(warmup=0.25, start_divisor=10, end_divisor=100)
    factors = [cycle.factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[24] == 1
    assert factors[-1] == pytest.approx(0.001)
    assert factors[:25] == sorted(factors[:25])
    assert factors[24:] == sorted(factors[24:], reverse=True)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_one_cycle_may_be_all_fall_or_all_rise(warmup: float) -> None:
    factors = [OneCycle(warmup=warmup).factor(step, 50) for step in range(50)]
    assert factors == sorted(factors, reverse=not warmup)
    assert max(factors) == 1
