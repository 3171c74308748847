"""What the tests of the network share."""

from __future__ import annotations

import json
import tomllib
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from mnistnn.arena import Arena
from mnistnn.layer import Layer, LayerSpec
from tests.mnistnn.contexts import lone_context

# Examples are drawn alike in every run, and a slow moment of a busy machine is no failure.
settings.register_profile("mnistnn", derandomize=True, deadline=None, max_examples=12)
settings.load_profile("mnistnn")


def _build(
    spec: LayerSpec,
    in_shape: tuple[int, ...],
    *,
    max_batch: int = 5,
    dtype: type[np.floating[Any]] = np.float64,
    seed: int = 0,
    input_grad: bool = True,
) -> tuple[Layer, Arena]:
    arena = Arena(dtype)
    context = lone_context(arena, max_batch, in_shape, seed=np.random.SeedSequence(seed), input_grad=input_grad)
    layer = spec.build(in_shape, context)
    arena.allocate()
    rng = np.random.default_rng(seed)
    layer.initialise(rng)
    # A bias of zero or a gamma of one would hide that they are missing.
    arena.params[...] += 0.3 * rng.standard_normal(arena.params.size)
    return layer, arena


@pytest.fixture(scope="session")
def build_layer() -> Callable[..., tuple[Layer, Arena]]:
    """Builds one layer with its own arena, its params shaken."""
    return _build


@pytest.fixture(scope="session")
def warm_peak() -> Callable[[Callable[[], object]], int]:
    """Returns the function that measures a call's peak of new memory, in bytes, after two calls to warm up."""

    def measure(call: Callable[[], object]) -> int:
        call()
        call()
        tracemalloc.start()
        try:
            call()  # tracemalloc's own first use
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            call()
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    return measure


@pytest.fixture(scope="session")
def through_toml() -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Returns the function that writes a flat table as TOML and reads it again."""

    def trip(values: Mapping[str, Any]) -> dict[str, Any]:
        return tomllib.loads("\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items()))

    return trip
