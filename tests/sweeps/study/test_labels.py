from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.config import StudyConfig, load_study
from sweeps.study.space import Space

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = str(ROOT / "tests" / "sweeps" / "example.toml")


def config(**tables: Any) -> StudyConfig:
    return StudyConfig.from_dict({"study": {"name": "small"}, "budget": {"trials": 3, "epochs": 2}} | tables)


def shipped(name: str) -> Space:
    return Space(load_study(name, root=ROOT))


@pytest.mark.parametrize(
    ("preset", "label"),
    [
        ("mlp3", "dense 128"),
        ("report", "conv 32 k5"),
        ("conv2", "conv 32-64 k3 bn dense 128"),
        ("small", "conv 24-32 k5-3 valid dense 256"),
    ],
)
def test_labels(preset: str, label: str) -> None:
    space = shipped(EXAMPLE)
    assert space.architecture(space.values(*space.preset_values(preset))) == label


def test_labels_say_what_is_unusual() -> None:
    space = Space(config(fixed={"blocks": 3, "convs_2": 2, "pool_1": False, "activation": "sigmoid"}))
    assert space.architecture(space.values({})) == "conv 32-32x2-32 k3 pool 2,3 sigmoid"
    assert space.architecture(space.values({}, {"pool_2": False, "pool_3": False})).startswith(
        "conv 32-32x2-32 k3 no pool"
    )
    assert space.architecture(space.values({}, {"blocks": 0})) == "linear"


def test_labels_say_what_halves_a_map_in_the_place_of_a_pool() -> None:
    space = Space(config(fixed={"blocks": 3, "stride_2": 2, "global_pool": True, "dense_units": 64}))
    assert space.architecture(space.values({})) == "conv 32-32-32 k3 strided 2 global pool dense 64"
    assert "k3 strided 1,2,3 global" in space.architecture(space.values({}, {"stride_1": 2, "stride_3": 2}))
    assert "k3 strided 2 pool 3 global" in space.architecture(space.values({}, {"pool_1": False}))
    assert space.plain(space.values({}))["strides"] == "1-2-1"


def test_labels_say_which_blocks_are_residual() -> None:
    space = Space(config(fixed={"blocks": 3, "convs_2": 2, "convs_3": 3, "residual": True, "residual_3": False}))
    assert space.architecture(space.values({})) == "conv 32-32x2r-32x3 k3"
    assert space.architecture(space.values({}, {"residual_3": True})) == "conv 32-32x2r-32x3r k3"
    assert space.plain(space.values({}))["residuals"] == "0-1-0"


def test_plain_names_have_one_column_for_a_thing() -> None:
    space = shipped(EXAMPLE)
    plain = space.plain(space.values(*space.preset_values("conv2")))
    expected = {
        "architecture": "conv 32-64 k3 bn dense 128",
        "blocks": 2,
        "filters": "32-64",
        "kernels": "3-3",
        "pools": "1-1",
        "optimizer": "adam",
        "learning_rate": 3e-3,
        "shift": 2,
        "schedule": "one_cycle",
        "epochs": 3,
        "batch_norm.momentum": 0.1,  # an optimizer's may stand in the column `momentum`
    }
    assert expected.items() <= plain.items()
    momentum = Space(config(fixed={"optimizer": {"momentum": {"momentum": 0.8}}}))
    plain = momentum.plain(momentum.values({}))
    assert (plain["momentum"], plain["optimizer"]) == (0.8, "momentum")
