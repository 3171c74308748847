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


def test_cosine_rises_along_a_line_first() -> None:
    factors = [Cosine(end=0.2, warmup=0.1).factor(step, 100) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10] == 1
    assert factors[55] == pytest.approx(0.6)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_cosine_begins_anew_with_each_cycle_and_rises_in_the_first_alone() -> None:
    factors = [Cosine(warmup=0.25, cycles=3).factor(step, 120) for step in range(120)]
    assert factors[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert [step for step in range(1, 120) if factors[step] > factors[step - 1]] == [*range(1, 10), 40, 80]
    assert factors[40] == factors[80] == 1
    assert factors[40:80] == factors[80:] == [Cosine().factor(step, 40) for step in range(40)]


@pytest.mark.parametrize(
    ("epochs", "cycles", "ends"),
    [(12, 3, (4, 8, 12)), (5, 1, (5,)), (5, 2, (2, 5)), (7, 3, (2, 4, 7)), (2, 4, (1, 2)), (1, 20, (1,))],
)
def test_a_cycle_ends_with_the_last_whole_epoch_of_it(epochs: int, cycles: int, ends: tuple[int, ...]) -> None:
    schedule, steps = Cosine(cycles=cycles), 10
    assert schedule.cycle_ends(epochs) == ends
    for end in ends[:-1] if cycles <= epochs else ():
        in_next = [schedule.factor(step, epochs * steps) for step in range(end * steps, (end + 1) * steps)]
        assert max(in_next) > schedule.factor(end * steps - 1, epochs * steps)  # it begins again there


def test_what_has_no_cycles_is_one() -> None:
    assert Constant().cycle_ends(7) == OneCycle().cycle_ends(7) == (7,)


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
