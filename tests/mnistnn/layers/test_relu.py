from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mnistnn.layers.relu import ReLUSpec


def test_zero_itself_gets_no_gradient(build_layer: Callable[..., Any]) -> None:
    layer, _ = build_layer(ReLUSpec(), (4,))
    assert layer.forward(np.array([[-1.0, 0.0, 1e-300, 2.0]]), train=True).tolist() == [[0, 0, 1e-300, 2]]
    assert layer.backward(np.ones((1, 4))).tolist() == [[0, 0, 1, 1]]
