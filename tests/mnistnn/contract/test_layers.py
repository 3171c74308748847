"""What every layer keeps to: drawn specs on drawn shapes. A new file in mnistnn/layers is tested here unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnistnn.arena import Arena
from mnistnn.domains import Choice, FloatRange, IntRange, domains_of
from mnistnn.errors import SpecError
from mnistnn.layer import Layer, LayerSpec
from mnistnn.registry import layer as registry
from tests.mnistnn.contexts import lone_context

NAMES = registry.names()
Build = Callable[..., tuple[Layer, Arena]]
Case = tuple[LayerSpec, tuple[int, ...], int]
# NumPy takes 64 KiB for itself where a ufunc casts a mask into strided memory; an array of a batch would be 1.6 MB.
WARM_BYTES = 72 * 1024


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    """A spec with small sizes, an input shape that it takes (a map, a flat one, or an image), and a seed."""
    values: dict[str, Any] = {}
    for field, domain in domains_of(registry.get(name)).items():
        match domain:
            case FloatRange():  # not at the very ends, where rounding is all there is
                width = domain.high - domain.low
                values[field] = draw(st.floats(domain.low + 0.05 * width, domain.high - 0.05 * width))
            case IntRange():
                values[field] = draw(st.integers(domain.low, min(domain.high, domain.low + 6)))
            case Choice():
                values[field] = draw(st.sampled_from(domain.values))
    spec = registry.get(name)(**values)
    assert isinstance(spec, LayerSpec)
    sizes = st.integers(4, 9)
    shapes = [draw(st.tuples(sizes, sizes, st.integers(1, 4))), draw(st.tuples(st.integers(1, 12))), (28, 28)]
    taken = [shape for shape in shapes if takes(spec, shape)]
    assume(taken)
    return spec, draw(st.sampled_from(taken)), draw(st.integers(0, 999))


def takes(spec: LayerSpec, shape: tuple[int, ...]) -> bool:
    try:
        spec.build(shape, lone_context(Arena(np.float64), 2, shape))
    except SpecError:
        return False
    return True


def drawn(shape: tuple[int, ...], seed: int, dtype: type = np.float64) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def again(layer: Layer, x: NDArray[Any], state: Any) -> NDArray[Any]:
    """A training forward pass with the same draws as the last."""
    if layer.rng is not None:
        layer.rng.bit_generator.state = state
    return layer.forward(x, train=True)


def differences(f: Callable[[], float], vector: NDArray[np.float64], picked: NDArray[np.int64]) -> Iterator[float]:
    """Central differences of `f` by the picked entries of `vector`."""
    for index in picked:
        middle, step = vector[index], 1e-5
        vector[index] = middle + step
        above = f()
        vector[index] = middle - step
        below = f()
        vector[index] = middle
        yield (above - below) / (2 * step)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_central_differences(name: str, build_layer: Build) -> None:
    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        n = 4
        layer, arena = build_layer(spec, shape, max_batch=n, seed=seed)
        x, weight = drawn((n, *shape), seed), drawn((n, *layer.out_shape), seed + 1)
        state = None if layer.rng is None else layer.rng.bit_generator.state

        def loss() -> float:
            return float(np.vdot(again(layer, x, state), weight))

        again(layer, x, state)
        dx = layer.backward(weight.copy()).copy()
        grads = arena.grads.copy()
        rng = np.random.default_rng(seed)
        for vector, gradient in ((x.reshape(-1), dx.reshape(-1)), (arena.params, grads)):
            picked = rng.permutation(vector.size)[:24]
            found = np.fromiter(differences(loss, vector, picked), np.float64)
            scale = 1 + np.abs(gradient).max(initial=0)
            np.testing.assert_allclose(gradient[picked] / scale, found / scale, rtol=1e-5, atol=1e-7)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_float32_agrees_with_float64_and_is_kept(name: str, build_layer: Build) -> None:
    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        results = []
        for dtype in (np.float32, np.float64):
            layer, arena = build_layer(spec, shape, dtype=dtype, seed=seed)
            x = drawn((5, *shape), seed, np.float32).astype(dtype)
            y = layer.forward(x, train=True).copy()
            dx = layer.backward(drawn(y.shape, seed + 1, np.float32).astype(dtype)).copy()
            y_eval = layer.forward(x, train=False).copy()
            arrays = [y, dx, y_eval, arena.grads, arena.states]
            assert {array.dtype for array in arrays} == {np.dtype(dtype)}
            assert y.shape == (5, *layer.out_shape)
            assert dx.shape == x.shape
            results.append(arrays)
        for narrow, wide in zip(*results, strict=True):
            scale = np.abs(wide).max(initial=1e-3)
            np.testing.assert_allclose(narrow / scale, wide / scale, atol=2e-4)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_its_input_stays_as_it_is(name: str, build_layer: Build) -> None:
    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        layer, _ = build_layer(spec, shape, seed=seed)
        x = drawn((5, *shape), seed)
        x.setflags(write=False)
        y = layer.forward(x, train=True)
        layer.backward(drawn(y.shape, seed + 1))
        layer.forward(x, train=False)
        np.testing.assert_array_equal(x, drawn((5, *shape), seed))

    check()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bytes(name: str, build_layer: Build) -> None:
    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        runs = []
        for _ in range(2):
            layer, arena = build_layer(spec, shape, seed=seed, dtype=np.float32)
            found = [arena.params.tobytes()]
            for step in range(3):
                y = layer.forward(drawn((5, *shape), step, np.float32), train=True)
                found.append(y.tobytes())
                found.append(layer.backward(drawn(y.shape, step + 50, np.float32)).tobytes())
            runs.append([*found, arena.grads.tobytes(), arena.states.tobytes()])
        assert runs[0] == runs[1]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_inference_is_per_image_and_remembers_nothing(name: str, build_layer: Build) -> None:
    """A short batch equals its rows, the same images give the same, and no statistic moves."""

    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        layer, arena = build_layer(spec, shape, seed=seed)
        layer.forward(drawn((5, *shape), seed + 7), train=True)  # so that statistics are not those of the start
        states, x = arena.states.copy(), drawn((5, *shape), seed)
        whole = layer.forward(x, train=False).copy()
        np.testing.assert_allclose(layer.forward(x[:2], train=False), whole[:2], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(layer.forward(x[4:], train=False), whole[4:], rtol=1e-12, atol=1e-12)
        assert layer.forward(x, train=False).tobytes() == whole.tobytes()
        assert arena.states.tobytes() == states.tobytes()

    check()


@pytest.mark.parametrize("name", NAMES)
def test_a_short_training_batch_is_as_good_as_a_full_one(name: str, build_layer: Build) -> None:
    """Three rows in a layer for five fare as in a layer for three, also right after a full batch."""

    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        results = []
        for max_batch in (3, 5):
            layer, arena = build_layer(spec, shape, seed=seed, max_batch=max_batch)
            states = arena.states.copy()
            rng_state = None if layer.rng is None else layer.rng.bit_generator.state
            y = layer.forward(drawn((max_batch, *shape), 1), train=True)
            layer.backward(drawn(y.shape, 2))
            arena.states[...], arena.grads[...] = states, np.nan  # grads are set, not added to
            y = again(layer, drawn((3, *shape), seed), rng_state)
            results.append([y.copy(), layer.backward(drawn(y.shape, seed + 1)).copy(), arena.grads, arena.states])
        for one, other in zip(*results, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_step_takes_next_to_no_memory(
    name: str, build_layer: Build, warm_peak: Callable[[Callable[[], object]], int]
) -> None:
    spec = registry.get(name)()
    assert isinstance(spec, LayerSpec)
    for shape in ((14, 14, 32), (1568,), (28, 28)):
        if not takes(spec, shape):
            continue
        layer, _ = build_layer(spec, shape, max_batch=64, dtype=np.float32)
        x = drawn((64, *shape), 0, np.float32)
        dy = drawn((64, *layer.out_shape), 1, np.float32)

        def step(layer: Layer = layer, x: Any = x, dy: Any = dy) -> None:
            layer.forward(x, train=True)
            layer.backward(dy)
            layer.forward(x, train=False)

        assert warm_peak(step) < WARM_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_what_it_says_of_itself_is_true(name: str, build_layer: Build) -> None:
    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        layer, arena = build_layer(spec, shape, seed=seed)
        assert layer.in_shape == shape
        assert sum(param.size for param in layer.params) == arena.params.size
        assert all(np.shares_memory(param.value, arena.params) for param in layer.params)
        # Multiply-adds belong to weights: none without, and with them at least one for each output.
        assert (layer.macs >= np.prod(layer.out_shape)) if arena.n_decay else (layer.macs == 0)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_without_an_owed_input_gradient_the_others_are_the_same(name: str, build_layer: Build) -> None:
    @given(cases(name))
    def check(case: Case) -> None:
        spec, shape, seed = case
        grads = []
        for input_grad in (True, False):
            layer, arena = build_layer(spec, shape, seed=seed, input_grad=input_grad)
            y = layer.forward(drawn((5, *shape), seed), train=True)
            layer.backward(drawn(y.shape, seed + 1))
            grads.append(arena.grads.tobytes())
        assert grads[0] == grads[1]

    check()
