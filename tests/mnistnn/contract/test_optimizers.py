"""What every optimizer keeps to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange, domains_of
from mnistnn.optimizers import BLOCK, OptimizerSpec
from mnistnn.registry import optimizer

NAMES = optimizer.names()


def make(name: str, **values: Any) -> OptimizerSpec:
    spec = optimizer.get(name)(**values)
    assert isinstance(spec, OptimizerSpec)
    return spec


def arena_of(weights: int = 7, biases: int = 4, dtype: type = np.float64, seed: int = 0) -> Arena:
    arena = Arena(dtype)
    arena.param("bias", (biases,), decay=False)
    arena.param("weight", (weights,), decay=True)
    arena.allocate()
    arena.params[...] = np.random.default_rng(seed).standard_normal(arena.params.size)
    return arena


def run(spec: OptimizerSpec, arena: Arena, steps: range, state: dict[str, Any], rate: float = 0.01) -> None:
    for step in steps:
        arena.grads[...] = np.random.default_rng(step).standard_normal(arena.params.size)
        spec.update(state, arena, learning_rate=rate, step=step)


@pytest.mark.parametrize("name", NAMES)
def test_its_learning_rate_has_a_log_range_of_its_own(name: str) -> None:
    domain = domains_of(optimizer.get(name))["learning_rate"]
    assert isinstance(domain, FloatRange)
    assert domain.log


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_it_finds_the_bottom_of_a_parabola(name: str, dtype: type) -> None:
    spec, arena = make(name, weight_decay=0.0), arena_of(dtype=dtype)
    bottom = arena.params + np.where(np.arange(arena.params.size) % 2, 0.4, -0.4)
    curvature = np.linspace(0.5, 2, arena.params.size)
    state = spec.init(arena)
    for step in range(1, 4001):
        arena.grads[...] = curvature * (arena.params - bottom)
        spec.update(state, arena, learning_rate=spec.learning_rate, step=step)
    np.testing.assert_allclose(arena.params, bottom, atol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_it_works_in_place_and_keeps_the_dtype(name: str) -> None:
    spec, arena = make(name, weight_decay=0.05), arena_of(dtype=np.float32)
    state = spec.init(arena)
    params, before, vectors = arena.params, arena.params.copy(), dict(state)
    run(spec, arena, range(1, 4), state)
    assert arena.params is params
    assert not np.array_equal(params, before)
    assert state.keys() == vectors.keys()
    assert all(state[key] is vectors[key] for key in state)
    for vector in (arena.params, *state.values()):
        assert vector.dtype == np.float32
        assert vector.shape == params.shape
        assert np.isfinite(vector).all()


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64(name: str) -> None:
    spec, narrow, wide = make(name, weight_decay=0.05), arena_of(500, 20, np.float32), arena_of(500, 20)
    narrow.params[...] = wide.params
    run(spec, narrow, range(1, 21), spec.init(narrow))
    run(spec, wide, range(1, 21), spec.init(wide))
    np.testing.assert_allclose(narrow.params, wide.params, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_update_takes_no_memory(name: str, warm_peak: Callable[[Callable[[], object]], int]) -> None:
    spec, arena = make(name, weight_decay=0.05), arena_of(300_000, 100, np.float32)
    state = spec.init(arena)
    arena.grads[...] = 0.1
    rate = np.float64(1e-3)  # what a schedule may give; must not widen anything
    assert warm_peak(lambda: spec.update(state, arena, learning_rate=float(rate), step=3)) < 8 * 1024


@pytest.mark.parametrize("name", NAMES)
def test_its_state_is_all_it_remembers(name: str) -> None:
    spec, whole, parted = make(name, weight_decay=0.05), arena_of(), arena_of()
    state = spec.init(whole)
    run(spec, whole, range(1, 11), state)

    first = spec.init(parted)
    run(spec, parted, range(1, 6), first)
    saved, params = {key: vector.copy() for key, vector in first.items()}, parted.params.copy()
    resumed, again = arena_of(seed=9), make(name, weight_decay=0.05)
    resumed.params[...] = params
    second = again.init(resumed)
    for key in second:
        second[key][...] = saved[key]
    run(again, resumed, range(6, 11), second)
    assert resumed.params.tobytes() == whole.params.tobytes()
    assert all(second[key].tobytes() == state[key].tobytes() for key in state)


@pytest.mark.parametrize("name", NAMES)
def test_decay_touches_weights_alone(name: str) -> None:
    spec, arena = make(name, weight_decay=0.1), arena_of()
    state, before = spec.init(arena), arena.params.copy()
    for step in range(1, 6):
        arena.grads[...] = 0
        spec.update(state, arena, learning_rate=0.01, step=step)
    n = arena.n_decay
    assert (np.abs(arena.params[:n]) < np.abs(before[:n])).all()
    assert arena.params[n:].tobytes() == before[n:].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_given_learning_rate_counts(name: str) -> None:
    arenas = [arena_of(), arena_of(), arena_of()]
    for arena, field, rate in zip(arenas, (0.01, 0.05, 0.01), (0.02, 0.02, 0.04), strict=True):
        spec = make(name, learning_rate=field)
        run(spec, arena, range(1, 2), spec.init(arena), rate)
    start = arena_of().params
    assert arenas[0].params.tobytes() == arenas[1].params.tobytes()
    np.testing.assert_allclose(arenas[2].params - start, 2 * (arenas[0].params - start), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_do_not_show(name: str) -> None:
    """A vector of several blocks, cut at an odd place between weights and biases, fares as its parts do alone."""
    spec = make(name, weight_decay=0.05)
    weights, biases = BLOCK + 1001, BLOCK + 17
    large = arena_of(weights, biases)
    picked = np.r_[0:5, BLOCK - 3 : BLOCK + 3, weights - 4 : weights + 4, large.params.size - 3 : large.params.size]
    small = arena_of(int((picked < weights).sum()), int((picked >= weights).sum()))
    small.params[...] = large.params[picked]
    big_state, small_state = spec.init(large), spec.init(small)
    for step in range(1, 4):
        large.grads[...] = np.random.default_rng(step).standard_normal(large.params.size)
        small.grads[...] = large.grads[picked]
        spec.update(big_state, large, learning_rate=0.01, step=step)
        spec.update(small_state, small, learning_rate=0.01, step=step)
    np.testing.assert_allclose(large.params[picked], small.params, rtol=1e-12)
