from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mnistnn.layers.flatten import FlattenSpec


def test_rows_then_columns_then_channels_and_back(build_layer: Callable[..., Any]) -> None:
    layer, _ = build_layer(FlattenSpec(), (2, 3, 4))
    x = np.arange(48.0).reshape(2, 2, 3, 4)
    y = layer.forward(x, train=True)
    assert layer.out_shape == (24,)
    assert y.tolist() == [list(range(24)), list(range(24, 48))]
    np.testing.assert_array_equal(layer.backward(y), x)
