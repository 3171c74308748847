from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.adamw import AdamW


def test_decay_does_not_go_through_the_averages(walk: Callable[..., list[float]]) -> None:
    assert walk(AdamW(weight_decay=0.5), [0.0, 0.0], 0.1) == pytest.approx([0.95, 0.95**2])


def test_without_decay_it_is_adam(walk: Callable[..., list[float]]) -> None:
    grads = [3.0, -1.0, 0.5]
    assert walk(AdamW(weight_decay=0.0), grads, 0.1) == walk(Adam(), grads, 0.1)
