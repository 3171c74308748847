from __future__ import annotations

import hashlib
import json

import pytest

from mnistnn.errors import SpecError
from mnistnn.network import Network
from mnistnn.presets import PRESETS, architecture, preset
from mnistnn.registry import layer


def kinds(name: str) -> list[str]:
    return [layer.name_of(spec) for spec in preset(name).network.layers]


def test_the_five_of_them() -> None:
    assert set(PRESETS) == {"mlp3", "report", "conv2", "small", "deep"}
    for name in PRESETS:
        assert architecture(name).network() == preset(name).network


def test_mlp3_is_784_128_10() -> None:
    assert kinds("mlp3") == ["input", "dense", "relu", "dense"]
    assert Network(preset("mlp3").network).param_count == 784 * 128 + 128 + 128 * 10 + 10


def test_report_is_the_reports_best_net() -> None:
    assert kinds("report") == ["input", "conv2d", "relu", "max_pool2d", "flatten", "dropout", "dense"]
    network = Network(preset("report").network)
    assert [built.out_shape for built in network.layers.values()][1] == (28, 28, 32)
    assert network.param_count == 5 * 5 * 32 + 32 + 14 * 14 * 32 * 10 + 10
    assert preset("report").training.batch_size == 100
    dropouts = [spec for spec in preset("report").network.layers if layer.name_of(spec) == "dropout"]
    assert [spec.rate for spec in dropouts] == [0.4]  # type: ignore[attr-defined]


def test_conv2_has_norms_and_dropouts() -> None:
    block = ["conv2d", "batch_norm", "relu", "max_pool2d"]
    head = ["flatten", "dropout", "dense", "batch_norm", "relu", "dropout", "dense"]
    assert kinds("conv2") == ["input", *block, *block, *head]


def test_small_is_cheap() -> None:
    assert Network(preset("small").network).macs == pytest.approx(1.2e6, rel=0.05)


def test_deep_is_dear() -> None:
    assert Network(preset("deep").network, initialise=False).macs == pytest.approx(14.1e6, rel=0.01)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("mlp3", "6f42f95a89bbf075"),
        ("report", "c49b4d8f04a8098d"),
        ("conv2", "d1a1883bd4f549b7"),
        ("small", "cb1268b2f32f61ad"),
        ("deep", "c20cf728ea1df185"),
    ],
)
def test_it_is_written_as_ever(name: str, digest: str) -> None:
    """In the header of weights: what is added to a Spec must leave that as it is, or no old trial is replayed."""
    text = json.dumps(preset(name).to_dict(), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    for look_up in (preset, architecture):
        with pytest.raises(SpecError, match=r"unknown preset 'reprot'; did you mean 'report'\?"):
            look_up("reprot")
