from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from mnistnn.optimizers.adadelta import AdaDelta


def test_the_first_step_by_hand(walk: Callable[..., list[float]]) -> None:
    step = 2 * (1e-2 / (0.5 * 4 + 1e-2)) ** 0.5
    assert walk(AdaDelta(rho=0.5, eps=1e-2), [2.0], 1.0) == pytest.approx([1 - step])


def test_steps_grow_from_those_before(walk: Callable[..., list[float]]) -> None:
    path = [1.0, *walk(AdaDelta(), [1.0] * 50, 1.0)]
    steps = [before - after for before, after in pairwise(path)]
    assert steps == sorted(steps)
    assert steps[-1] > 1.2 * steps[0]
