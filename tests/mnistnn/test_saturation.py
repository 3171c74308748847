from __future__ import annotations

import numpy as np
import pytest

from mnistnn.architecture import Block, ConvNet
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.network import Network
from mnistnn.saturation import OVERFLOWS, SATURATES, saturation

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)


def network(**changes: object) -> Network:
    fields: dict[str, object] = {"dense_units": 30, "activation": SigmoidSpec(), **changes}
    return Network(ConvNet(**fields).network(), batch_size=20, seed=3)  # type: ignore[arg-type]


def slope(x: float) -> float:
    y = 1 / (1 + np.exp(-np.float64(x)))
    return float(y * (1 - y))


def test_the_bounds_are_what_they_say() -> None:
    assert slope(SATURATES) == pytest.approx(0.25 / 100)
    with np.errstate(over="ignore"):
        assert np.isfinite(np.exp(np.float32(OVERFLOWS * 0.999)))
        assert np.isinf(np.exp(np.float32(OVERFLOWS * 1.001)))


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("scaling", ["unit", "none"])
def test_it_counts_what_reaches_the_sigmoid(scale: float, scaling: str) -> None:
    built = network(init_scale=scale, scaling=scaling)
    pixels = IMAGES.reshape(20, -1) / (255.0 if scaling == "unit" else 1.0)
    inputs = pixels @ built.layers["dense_1"].weight.value.astype(np.float64)  # type: ignore[attr-defined]
    found = saturation(built, IMAGES)
    assert found is not None
    assert found.saturated == pytest.approx(np.mean(np.abs(inputs) > SATURATES), abs=2 / inputs.size)
    assert found.overflow == pytest.approx(np.mean(inputs < -OVERFLOWS), abs=2 / inputs.size)
    assert found.largest == pytest.approx(np.abs(inputs).max(), rel=1e-4)


def test_large_weights_and_raw_pixels_overflow_and_a_norm_keeps_both_off() -> None:
    shares = [
        saturation(network(init_scale=scale, scaling=scaling, norm=norm), IMAGES)
        for scale, scaling, norm in ((1.0, "unit", None), (10.0, "none", None), (10.0, "none", BatchNormSpec()))
    ]
    usual, large, normed = (share for share in shares if share is not None)
    assert (usual.saturated, usual.overflow) == (0.0, 0.0)
    assert large.saturated > 0.9
    assert large.overflow > 0.3
    assert large.largest > 709.8
    assert (normed.saturated, normed.overflow) == (0.0, 0.0)


def test_all_sigmoids_count_and_a_network_without_any_has_none() -> None:
    deep = saturation(network(blocks=(Block(filters=2),), init_scale=10.0), IMAGES)
    assert deep is not None
    assert 0 < deep.saturated < 1
    assert saturation(Network(ConvNet(dense_units=30).network(), batch_size=20), IMAGES) is None
