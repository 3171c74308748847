"""How time is taken, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.measure import Spread, alternate, ratio, sgemm_peak, spread


class Clock:
    """Time that only passes where a call takes it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def call(self, name: str, seconds: list[float]) -> object:
        """Returns a call whose n-th time takes the n-th of `seconds`, and all later ones the last."""
        seen: list[int] = []

        def run(number: int) -> None:
            assert number == len(seen)
            seen.append(number)
            self.order.append(name)
            self.now += seconds[min(number, len(seconds) - 1)]

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    return clock


def test_a_ratio_is_taken_round_by_round() -> None:
    """Where the machine was ten times as slow for a while, both were."""
    own = np.array([1.0, 1.0, 10.0, 10.0, 1.0])
    found = ratio(2 * own, own)
    assert found == Spread(2.0, 2.0, 2.0)
    uneven = ratio(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.ones(5))
    assert (uneven.low, uneven.middle, uneven.high) == pytest.approx((1.4, 3.0, 4.6))


def test_a_spread_is_the_median_and_the_middle_80_percent() -> None:
    found = spread(np.arange(101.0))
    assert (found.low, found.middle, found.high) == pytest.approx((10, 50, 90))


def test_turns_alternate_and_each_round_begins_with_another(clock: Clock) -> None:
    calls = {name: clock.call(name, [1.0]) for name in "abc"}
    alternate(calls, 4, warm_up=1)  # type: ignore[arg-type]
    assert "".join(clock.order) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_short_calls_are_taken_several_in_a_row(clock: Clock) -> None:
    calls = {
        "slow": clock.call("s", [0.5]),
        "fast": clock.call("f", [0.5, 0.02, 0.02]),
        "tiny": clock.call("t", [1e-6]),
    }
    found = alternate(calls, 1, warm_up=2)  # type: ignore[arg-type]
    assert "".join(clock.order) == "ssfftt" + "s" + "fff" + "t" * 10
    assert found["slow"] == pytest.approx([0.5])
    assert found["fast"] == pytest.approx([0.02])


def test_each_turn_s_time_is_kept(clock: Clock) -> None:
    found = alternate({"a": clock.call("a", [9, 9, 1, 2, 3]), "b": clock.call("b", [4])}, 3)  # type: ignore[dict-item]
    assert found["a"] == pytest.approx([1, 2, 3])
    assert ratio(found["b"], found["a"]).middle == pytest.approx(2)


def test_the_peak_is_the_best_of_several_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 4.0, 4.0, 6.0, 6.0, 9.0])  # 4, 2 and 3 seconds
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(times))
    assert sgemm_peak(tries=3, size=8) == 2 * 8**3 / 2.0
