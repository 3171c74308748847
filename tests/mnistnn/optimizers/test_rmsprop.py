from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.rmsprop import RMSprop


def test_steps_by_hand(walk: Callable[..., list[float]]) -> None:
    # s: 0.5 · 4 = 2, 0.5 · 2 + 0.5 · 14 = 8 with g² = 14
    grads = [2.0, 14**0.5]
    expected = [1 - 0.1 * 2 / 2**0.5, 1 - 0.1 * 2 / 2**0.5 - 0.1 * 14**0.5 / 8**0.5]
    assert walk(RMSprop(rho=0.5), grads, 0.1) == pytest.approx(expected)


def test_eps_stands_outside_the_root(walk: Callable[..., list[float]]) -> None:
    assert walk(RMSprop(rho=0.0, eps=0.1), [2.0], 0.1) == pytest.approx([1 - 0.1 * 2 / 2.1])
