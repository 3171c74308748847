"""One net's step, side by side: who is measured, and what is said of what cannot be."""

from __future__ import annotations

import time
from typing import Any

import pytest

from benchmarks import steps
from benchmarks.contenders import FLOAT64, LAYOUTS, OURS, PLAIN
from benchmarks.measure import limit_threads
from benchmarks.nets import named_case
from benchmarks.steps import COMPILED, StepRow, measure_step

pytest.importorskip("torch", reason="needs PyTorch (make setup-bench)")


def measured(net: str, **options: Any) -> StepRow:
    with limit_threads(1):
        return measure_step(named_case(net), threads=1, rounds=2, **options)


def test_each_has_its_turns_and_the_report_its_own_layers() -> None:
    row = measured("report")
    assert set(row.ms) == {OURS, PLAIN, *LAYOUTS, FLOAT64}
    assert set(row.others) == {PLAIN, FLOAT64}
    assert row.best == min(LAYOUTS, key=lambda layout: row.ms[layout].middle)
    assert row.note == ""
    assert row.flop_per_s == pytest.approx(288_512_000 / (row.ms[OURS].middle / 1e3))
    # In two rounds a median is a mean: the ratio lies between the two rounds' own.
    assert row.ratio.low <= row.ms[row.best].high / row.ms[OURS].low
    assert set(measured("mlp3", plain=False).ms) == {OURS, *LAYOUTS}


def test_a_compiled_net_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(steps, "compiled", lambda net: seen.append(net) or net)
    row = measured("mlp3", compile_limit_s=60)
    assert len(seen) == 1
    assert COMPILED in row.ms
    assert row.best in (*LAYOUTS, COMPILED)


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(net: Any) -> Any:
        raise RuntimeError("no compiler\n  was found")

    monkeypatch.setattr(steps, "compiled", fail)
    row = measured("mlp3", compile_limit_s=60)
    assert row.note == "torch.compile: no compiler was found"
    assert COMPILED not in row.ms


def test_what_takes_too_long_to_compile_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "compiled", lambda net: time.sleep(30))
    began = time.monotonic()
    row = measured("mlp3", compile_limit_s=0.2)
    assert time.monotonic() - began < 20
    assert row.note == "torch.compile: not ready after 0.2 s"
    assert COMPILED not in row.ms
