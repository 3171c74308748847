"""A first dense layer without blank pixels, against the plain layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.fusion.dense import FusedInputDense
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network, NetworkSpec


def spec_of(units: int = 64, *, bias: bool = True, scaling: str = "unit") -> NetworkSpec:
    return NetworkSpec(
        (
            InputSpec(shape=(784,), scaling=scaling),
            DenseSpec(units=units, bias=bias),
            ReLUSpec(),
            DenseSpec(units=10),
        )
    )


def networks(spec: NetworkSpec, *, batch_size: int = 80, dtype: type = np.float64) -> tuple[Network, Network]:
    fused, plain = (Network(spec, batch_size=batch_size, seed=1, dtype=dtype, fused=fused) for fused in (True, False))
    for network in (fused, plain):
        network.arena.params[network.arena.n_decay :] = 0.3  # biases of zero would hide that they are missing
    return fused, plain


def images_of(rows: int, inked: int, seed: int = 0) -> np.ndarray:
    """Pictures with ink at `inked` of the pixels, strewn over the picture, and at each in some image."""
    draw = np.random.default_rng(seed)
    images = np.zeros((rows, 784), np.uint8)
    places = draw.permutation(784)[:inked]
    images[:, places] = draw.integers(0, 256, (rows, inked)) * (draw.random((rows, inked)) < 0.3)
    images[draw.integers(0, rows, inked), places] = 255
    return images.reshape(rows, 28, 28)


def step(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(len(images)) % 10
    loss = SoftmaxCrossEntropy(10, len(images), dtype=network.arena.dtype)
    network.arena.grads[...] = np.nan  # set, not added to
    logits = network.forward(images, train=True).copy()
    loss.forward(logits, labels)
    network.backward(loss.backward())
    return logits, network.arena.grads.copy()


@given(
    st.integers(1, 80), st.sampled_from([0, 1, 300, 627, 628, 784]), st.booleans(), st.sampled_from(["unit", "none"])
)
def test_equals_the_plain_layers(rows: int, inked: int, bias: bool, scaling: str) -> None:
    fused, plain = networks(spec_of(bias=bias, scaling=scaling))
    for seed, count in ((0, 80), (1, rows)):  # what a whole batch left behind does not show
        images = images_of(count, inked, seed)
        (logits, grads), (expected_logits, expected_grads) = step(fused, images), step(plain, images)
        np.testing.assert_allclose(logits, expected_logits, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(grads, expected_grads, rtol=1e-9, atol=1e-10 * max(1.0, np.abs(grads).max()))
    assert fused.forward(images).tobytes() == plain.forward(images).tobytes()


def test_float32_stays_close_to_float64() -> None:
    images = images_of(80, 500)
    exact = step(networks(spec_of())[0], images)
    rough = step(networks(spec_of(), dtype=np.float32)[0], images)
    for precise, single in zip(exact, rough, strict=True):
        assert single.dtype == np.float32
        assert np.linalg.norm(single - precise) <= 1e-5 * np.linalg.norm(precise)


def products_of(network: Network, monkeypatch: pytest.MonkeyPatch, images: np.ndarray) -> list[int]:
    """Returns how many columns the first layer's products had, in a step and in inference."""
    found = []
    matmul = np.matmul

    def watched(a: np.ndarray, b: np.ndarray, **out: np.ndarray) -> np.ndarray:
        if a.ndim == 2 and a.shape[0] == len(images):
            found.append(a.shape[1])
        return matmul(a, b, **out)

    with monkeypatch.context() as patch:
        patch.setattr("mnistnn.fusion.dense.np.matmul", watched)
        first = network.plan[0]
        first.forward(images, train=True)
        first.forward(images, train=False)
    return found


@pytest.mark.parametrize(
    ("rows", "inked", "columns"),
    [(80, 500, 500), (64, 500, 500), (63, 500, 784), (80, 627, 627), (80, 628, 784)],
    ids=["blank", "enough images", "too few images", "just enough blank", "too little blank"],
)
def test_blank_pixels_are_left_out_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, rows: int, inked: int, columns: int
) -> None:
    network, _ = networks(spec_of())
    assert isinstance(network.plan[0], FusedInputDense)
    assert products_of(network, monkeypatch, images_of(rows, inked)) == [columns, 784]


def test_floats_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fused, plain = networks(spec_of())
    images = images_of(80, 300).astype(np.float32)
    assert products_of(fused, monkeypatch, images) == [784, 784]
    np.testing.assert_allclose(step(fused, images)[0], step(plain, images)[0], rtol=1e-9)


@pytest.mark.parametrize("spec", [spec_of(63), spec_of(scaling="standard")], ids=["few units", "no zeros"])
def test_what_would_not_gain_is_left_as_it_is(spec: NetworkSpec) -> None:
    assert not any(isinstance(layer, FusedInputDense) for layer in Network(spec).plan)


def test_a_warm_step_takes_next_to_no_memory(warm_peak: Callable[[Callable[[], object]], int]) -> None:
    network, _ = networks(spec_of(128), dtype=np.float32)
    first, images, dy = network.plan[0], images_of(80, 500), np.ones((80, 128), np.float32)

    def both() -> None:
        first.forward(images, train=True)
        first.backward(dy)

    assert (
        warm_peak(both) < 36 * 1024
    )  # NumPy takes 33 for itself to add a bias; picked pixels and weights would be 300
