from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.adagrad import AdaGrad


def test_steps_by_hand(walk: Callable[..., list[float]]) -> None:
    assert walk(AdaGrad(), [3.0, 4.0], 0.1) == pytest.approx([0.9, 0.9 - 0.1 * 4 / 5])


def test_no_gradient_no_step(walk: Callable[..., list[float]]) -> None:
    assert walk(AdaGrad(), [0.0, 0.0], 0.1) == [1.0, 1.0]
