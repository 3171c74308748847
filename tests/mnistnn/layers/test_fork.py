from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.errors import SpecError
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.fork import ForkSpec
from mnistnn.layers.input import InputSpec
from mnistnn.network import Network, NetworkSpec

Build = Callable[..., Any]


def test_it_lets_through_what_comes(build_layer: Build) -> None:
    layer, _ = build_layer(ForkSpec(), (5, 7, 3))
    x = np.random.default_rng(0).standard_normal((4, 5, 7, 3))
    assert layer.forward(x, train=True) is x
    assert layer.backward(x) is x


def test_what_is_no_map_is_refused(build_layer: Build) -> None:
    with pytest.raises(SpecError, match="before flatten"):
        build_layer(ForkSpec(), (12,))


def test_one_that_no_add_ends_is_refused() -> None:
    with pytest.raises(SpecError, match="ended by an add"):
        Network(NetworkSpec((InputSpec(), ForkSpec(), FlattenSpec(), DenseSpec(units=10))))
