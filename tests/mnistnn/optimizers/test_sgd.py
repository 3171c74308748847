from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.sgd import SGD


def test_a_step_by_hand(walk: Callable[..., list[float]]) -> None:
    assert walk(SGD(), [2.0, -1.0], 0.1) == pytest.approx([0.8, 0.9])
    assert walk(SGD(weight_decay=0.1), [2.0], 0.1) == pytest.approx([1 - 0.1 * (2 + 0.1)])


def test_it_remembers_nothing() -> None:
    assert SGD.vectors == ()
