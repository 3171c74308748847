from __future__ import annotations

import functools
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistnn import presets, registry
from mnistnn.augment.translation import Translation
from mnistnn.domains import Choice, Domain, FloatRange, IntRange
from mnistnn.network import Network
from mnistnn.optimizers.adam import Adam
from sweeps.config import StudyConfig, load_study
from sweeps.errors import ConfigError
from sweeps.study.grid import grid_points
from sweeps.study.sobol import at
from sweeps.study.space import Space, Values

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = str(ROOT / "tests" / "sweeps" / "example.toml")
SHIPPED = ["default", "contest", "smoke"]


def config(**tables: Any) -> StudyConfig:
    return StudyConfig.from_dict({"study": {"name": "small"}, "budget": {"trials": 3, "epochs": 2}} | tables)


@functools.cache
def shipped(name: str) -> Space:
    return Space(load_study(name, root=ROOT))


def draw(space: Space, parts: Any) -> tuple[Values, Values]:
    asked: Values = {}

    def suggest(name: str, domain: Domain) -> Any:
        assert name not in asked
        asked[name] = at(domain, float(next(parts)))
        return asked[name]

    return asked, space.walk(suggest)


@pytest.mark.parametrize("name", SHIPPED)
def test_whatever_is_drawn_is_legal_and_known(name: str) -> None:
    space = shipped(name)
    parts = iter(np.random.default_rng(0).random(100_000))
    for _ in range(150):
        asked, values = draw(space, parts)
        assert asked.keys() <= space.searched.keys()
        assert asked.items() <= values.items()
        assert all(isinstance(value, str | int | float | bool) for value in values.values())
        recipe = space.recipe(values)
        assert recipe.training.epochs == load_study(name, root=ROOT).budget.epochs
        if space.impossible(values) is None:
            Network(recipe.network, batch_size=2, initialise=False)
        assert space.values(asked) == values
        assert space.architecture(values)
        assert len(space.plain(values)) > 15


def test_names_that_mean_nothing_are_not_asked_for() -> None:
    space = Space(
        config(
            search={
                "blocks": [0, 1, 3],
                "filters": [8, 16],
                "pool": [True, False],
                "padding": ["same", "valid"],
                "dense_units": [0, 32],
                "dense_dropout": [0.1, 0.2],
                "block_dropout": [0.0, 0.1],
                "norm": ["none", "batch_norm"],
                "optimizer": {
                    "adam": {"learning_rate": {"low": 1e-3, "high": 1e-2}},
                    "momentum": {"learning_rate": {"low": 1e-2, "high": 1e-1}, "momentum": [0.8, 0.9]},
                },
            }
        )
    )
    parts = iter(np.random.default_rng(0).random(100_000))
    seen = set()
    for _ in range(300):
        asked, values = draw(space, parts)
        blocks = values["blocks"]
        seen.add((blocks, values["dense_units"], values["optimizer"]))
        assert {f"filters_{i}" in asked for i in range(1, blocks + 1)} <= {True}
        assert f"filters_{blocks + 1}" not in asked
        assert ("dense_dropout" in asked) == (values["dense_units"] > 0)
        assert ("padding" in asked) == ("block_dropout" in asked) == (blocks > 0)
        assert ("norm" in asked) == (blocks > 0 or values["dense_units"] > 0)
        assert ("momentum.momentum" in asked) == (values["optimizer"] == "momentum")
        assert ("adam.learning_rate" in asked) == (values["optimizer"] == "adam")
    assert len(seen) == 3 * 2 * 2


def test_a_block_pools_only_where_the_map_is_large_enough() -> None:
    space = Space(
        config(fixed={"blocks": 4, "kernel": 3}, search={"pool": [True, False], "padding": ["same", "valid"]})
    )

    def walk(padding: str, pool: bool) -> list[tuple[int, bool, bool]]:
        asked: Values = {}
        choices = {"padding": padding} | {f"pool_{i}": pool for i in range(1, 5)}

        def suggest(name: str, domain: Domain) -> Any:
            asked[name] = choices[name]
            return choices[name]

        values = space.walk(suggest)
        return [(i, f"pool_{i}" in asked, values[f"pool_{i}"]) for i in range(1, 5)]

    assert walk("same", True) == [(1, True, True), (2, True, True), (3, True, True), (4, False, False)]  # 28 14 7 3
    assert walk("valid", True) == [(1, True, True), (2, True, True), (3, False, False), (4, False, False)]  # 26 11 3 1
    assert [pooled for _, _, pooled in walk("same", False)] == [False] * 4


def test_a_block_that_strides_is_not_asked_for_a_pool() -> None:
    space = Space(config(fixed={"blocks": 4, "kernel": 3}, search={"pool": [True, False], "stride": [1, 2]}))

    def walk(*strides: int) -> tuple[list[str], Values]:
        asked: list[str] = []

        def suggest(name: str, domain: Domain) -> Any:
            asked.append(name)
            return strides[int(name[-1]) - 1] if name.startswith("stride") else True

        return asked, space.walk(suggest)

    asked, values = walk(2, 1, 2, 1)  # 28 14 7 4 2
    assert asked == ["stride_1", "stride_2", "pool_2", "stride_3", "stride_4", "pool_4"]
    assert [values[f"pool_{i}"] for i in range(1, 5)] == [False, True, False, True]
    assert [block.stride for block in space.convnet(values).blocks] == [2, 1, 2, 1]
    asked, values = walk(1, 1, 1, 2)  # 28 14 7 3, which is too small for either
    assert "stride_4" not in asked
    assert (values["stride_4"], values["pool_4"]) == (1, False)
    assert space.impossible(values) is None


def test_only_a_block_of_several_convolutions_is_asked_whether_it_is_residual() -> None:
    space = Space(config(fixed={"blocks": 3, "convs_1": 1}, search={"convs": [1, 2], "residual_2": [True, False]}))

    def walk(convs: int) -> tuple[list[str], Values]:
        asked: list[str] = []

        def suggest(name: str, domain: Domain) -> Any:
            asked.append(name)
            return convs if name.startswith("convs") else True

        return asked, space.walk(suggest)

    asked, values = walk(2)
    assert asked == ["convs_2", "residual_2", "convs_3"]
    assert [block.residual for block in space.convnet(values).blocks] == [False, True, False]
    assert space.impossible(values) is None
    asked, values = walk(1)
    assert asked == ["convs_2", "convs_3"]
    assert not values["residual_2"]


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
def test_any_block_may_be_residual(padding: str, stride: int) -> None:
    net = {"blocks": 2, "filters": 4, "convs": 2, "padding": padding, "stride": stride, "residual": True}
    space = Space(config(fixed=net))
    assert space.impossible(space.values({})) is None


def test_a_global_pool_is_asked_for_where_there_are_maps() -> None:
    space = Space(config(search={"blocks": [0, 1], "global_pool": [True, False]}))
    with_maps, without = ({"blocks": count, "global_pool": True} for count in (1, 0))
    assert space.convnet(space.values(with_maps)).global_pool
    assert "global_pool" not in space.values(without)


def test_an_average_of_the_weights_takes_memory() -> None:
    values = {"blocks": 0, "dense_units": 2048}
    space = Space(config(fixed=values, search={"ema": [0.0, 0.99]}))
    params = Network(space.recipe(space.values({"ema": 0.0})).network, batch_size=1, initialise=False).arena.params
    limited = Space(config(fixed=values, search={"ema": [0.0, 0.99]}, limits={"memory_mb": 1}))
    found = [str(limited.impossible(limited.values({"ema": ema}))) for ema in (0.0, 0.99)]
    without, averaged = (int(reason.split(":")[1].split()[0]) for reason in found)
    assert averaged - without == pytest.approx(2 * params.nbytes / 1e6, abs=1)
    assert space.recipe(space.values({"ema": 0.99})).training.ema == 0.99


def test_what_is_said_of_one_block_goes_before_what_is_said_of_all() -> None:
    space = Space(config(fixed={"blocks": 2, "filters": 8, "filters_2": 16, "kernel": 5}))
    values = space.values({})
    assert (values["filters_1"], values["filters_2"], values["kernel_1"], values["kernel_2"]) == (8, 16, 5, 5)


def test_what_stands_nowhere_is_the_specs_default() -> None:
    space = Space(config())
    assert space.searched == {}
    recipe = space.recipe(space.values({}))
    assert recipe.training.optimizer == Adam()
    assert recipe.training.augment == ()


@pytest.mark.parametrize("study", SHIPPED)
@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_is_itself_in_every_study(study: str, name: str) -> None:
    space = shipped(study)
    fits, overrides = space.preset_values(name)
    assert fits.keys() <= space.searched.keys()
    assert not fits.keys() & overrides.keys()
    assert json.loads(json.dumps([fits, overrides])) == [fits, overrides]
    values = space.values(fits, overrides)
    recipe, preset = space.recipe(values), presets.preset(name)
    assert recipe.network == preset.network
    assert recipe.training.optimizer == preset.training.optimizer
    assert recipe.training.augment == preset.training.augment
    assert recipe.training.batch_size == preset.training.batch_size
    assert recipe.training.schedule == space.recipe(space.values(*space.preset_values("mlp3"))).training.schedule


def test_an_override_outside_the_space_brings_its_own_fields() -> None:
    space = Space(config(search={"optimizer": {"adam": {"learning_rate": [1e-3, 1e-2]}}, "blocks": [0, 1]}))
    values = space.values({}, {"optimizer": "momentum", "blocks": 4, "filters_4": 3, "momentum.momentum": 0.5})
    recipe = space.recipe(values)
    assert recipe.training.optimizer == registry.optimizer.get("momentum")(momentum=0.5)
    assert values["filters_4"] == 3
    assert "adam.learning_rate" not in values


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"macs": 100_000}, "macs: 689,920 is above the limit of 100,000"),
        ({"params": 10_000}, "params: 63,562 is above the limit of 10,000"),
        ({"memory_mb": 131}, "memory_mb: "),
        ({}, None),
    ],
)
def test_limits(limits: dict[str, int], reason: str | None) -> None:
    space = Space(config(limits=limits))
    found = space.impossible(space.values(*space.preset_values("report")))
    assert found == reason if found is None or reason is None else found.startswith(reason)


def test_a_shape_that_cannot_be() -> None:
    space = Space(config(fixed={"blocks": 4, "padding": "valid", "kernel": 7, "convs": 3}))
    assert str(space.impossible(space.values({}))).startswith("shape: ")


def test_possible_or_not_is_worked_out_once_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    space = shipped("smoke")
    asked, values = draw(space, iter([0.9] * 100))
    built = []
    work = Space._count
    monkeypatch.setattr(Space, "_count", lambda self, values: built.append(1) or work(self, values))
    for dropout, rate in itertools.product([0.1, 0.11, 0.12], [0.01, 0.02]):
        space.impossible(values | {"dropout": dropout, f"{values['optimizer']}.learning_rate": rate})
    assert len(built) == 1
    space.impossible(values | {"dropout": 0.0})  # no dropout layer: another network
    space.impossible(values | {"batch_size": 100 + values["batch_size"]})
    assert len(built) == 3


def test_a_grid_goes_over_every_possible_point_once() -> None:
    space = Space(
        config(
            sampler={"type": "grid"},
            limits={"params": 100_000},
            search={
                "blocks": [0, 1],
                "filters": {"low": 4, "high": 8, "step": 2},
                "dense_units": [0, 16, 2000],  # the last is above the limit
                "dense_dropout": {"low": 0.0, "high": 0.2, "step": 0.1},
                "optimizer": {"adam": {"learning_rate": [1e-3, 1e-2]}, "sgd": {}},
            },
        )
    )
    points = grid_points(space)
    #           no block or one of 3 filters × (no dense or one with 3 rates) × (adam with 2 rates or sgd)
    assert len(points) == (1 + 3) * (1 + 3) * (2 + 1)
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points)
    for point in points:
        assert space.impossible(space.values(point)) is None
    assert points == grid_points(space)


def test_a_grid_over_a_range_without_steps_is_refused() -> None:
    space = Space(config(search={"dropout": {"low": 0.0, "high": 0.5}}))
    with pytest.raises(ConfigError, match=r"search\.dropout must be a list or have a step"):
        grid_points(space)


def test_a_grid_can_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.study.grid._LARGEST_GRID", 100)
    with pytest.raises(ConfigError, match="at most 100 points"):
        grid_points(Space(config(search={"batch_size": {"low": 1, "high": 101}})))
    assert len(grid_points(Space(config(search={"batch_size": {"low": 1, "high": 100}})))) == 100


def test_optuna_is_asked_in_the_space_s_own_words() -> None:
    space = shipped("contest")
    given_params = next(
        asked
        for asked, values in (draw(space, iter(np.random.default_rng(seed).random(100))) for seed in range(100))
        if space.impossible(values) is None
    )
    trial = optuna.trial.FixedTrial(given_params)
    assert space.suggest_with(trial) == space.values(given_params)
    assert trial.params == given_params


def register(monkeypatch: pytest.MonkeyPatch, kind: registry.Registry) -> registry.Registry:
    """Gives the registry back as it was, after the test."""
    kind.names()
    for part in ("_classes", "_names", "_roles"):
        monkeypatch.setattr(kind, part, dict(getattr(kind, part)))
    return kind


def test_what_is_new_in_mnistnn_is_searched_by_its_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = register(monkeypatch, registry.layer)

    @register(monkeypatch, registry.optimizer)("newton")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Newton(Adam):
        damping: Annotated[float, FloatRange(0.1, 1.0)] = 0.5

    @register(monkeypatch, registry.augmentation)("slide")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Slide(Translation):
        way: Annotated[str, Choice("left", "right")] = "left"

    @layer("bend", role="activation")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Bend(registry.layer.get("relu")):  # type: ignore[misc]
        knee: Annotated[float, FloatRange(0.0, 1.0)] = 0.5

    @layer("least", role="pool")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Least(registry.layer.get("max_pool2d")):  # type: ignore[misc]
        pass

    @layer("again", role="extra")
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Again(registry.layer.get("batch_norm")):  # type: ignore[misc]
        times: Annotated[int, IntRange(1, 4)] = 1

    space = Space(
        config(
            search={
                "optimizer": {"newton": {"damping": {"low": 0.2, "high": 0.4}}},
                "augment": {"slide": {"way": ["left", "right"]}, "translation": {"shift": {"low": 0, "high": 2}}},
                "activation": {"bend": {"knee": {}}, "relu": {}},
                "pooling": ["least", "max_pool2d"],
                "extra": {"none": {}, "again": {"times": {"low": 1, "high": 4}}},
            }
        )
    )
    high = {"newton.damping", "slide.way", "translation.shift", "bend.knee", "pooling", "extra", "again.times"}
    assert high <= space.searched.keys()
    asked: Values = {}
    wanted = {"activation": "bend", "pooling": "least", "extra": "again", "again.times": 3, "slide.way": "right"}

    def suggest(name: str, domain: Domain) -> Any:
        asked[name] = wanted.get(name, at(domain, 0.5))
        return asked[name]

    values = space.walk(suggest)
    recipe = space.recipe(values)
    assert isinstance(recipe.training.optimizer, Newton)
    assert [type(spec) for spec in recipe.training.augment] == [Slide, Translation]
    assert recipe.training.augment[0].way == "right"
    kinds = [type(spec) for spec in recipe.network.layers]
    assert {Bend, Least, Again} <= set(kinds)
    assert asked.keys() >= high
    assert space.impossible(values) is None
    assert space.plain(values)["way"] == "right"
    assert space.plain(values)["damping"] == asked["newton.damping"]


@settings(max_examples=200)
@given(st.floats(0, 1, exclude_max=True), st.sampled_from(["default", "contest", "smoke"]))
def test_every_place_of_a_domain_lies_in_it(part: float, study: str) -> None:
    for domain in shipped(study).searched.values():
        assert domain.contains(at(domain, part))
