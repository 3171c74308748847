from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.nesterov import Nesterov


def test_steps_by_hand(walk: Callable[..., list[float]]) -> None:
    # v: 2, 0; steps: 2 + 0.5 · 2 = 3, -1 + 0.5 · 0 = -1
    assert walk(Nesterov(momentum=0.5), [2.0, -1.0], 0.1) == pytest.approx([0.7, 0.8])
