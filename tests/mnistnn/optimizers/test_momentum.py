from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.momentum import Momentum
from mnistnn.optimizers.sgd import SGD


def test_steps_by_hand(walk: Callable[..., list[float]]) -> None:
    # v: 2, 0.5 · 2 - 1 = 0, 0.5 · 0 + 3 = 3
    assert walk(Momentum(momentum=0.5), [2.0, -1.0, 3.0], 0.1) == pytest.approx([0.8, 0.8, 0.5])


def test_without_momentum_it_is_sgd(walk: Callable[..., list[float]]) -> None:
    grads = [2.0, -1.0, 3.0]
    assert walk(Momentum(momentum=0.0), grads, 0.1) == walk(SGD(), grads, 0.1)
