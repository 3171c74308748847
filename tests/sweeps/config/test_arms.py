from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from sweeps.config import StudyConfig, load_study
from sweeps.config.arms import Arm
from sweeps.errors import ConfigError
from tests.sweeps.arms import TABLES, arms_config
from tests.sweeps.small import small_config

ROOT = Path(__file__).parents[3]


def arm(name: str, **arms: Any) -> Arm:
    ablation = arms_config(**arms).ablation()
    assert ablation is not None
    return next(each for each in ablation.arms if each.name == name)


def test_an_arm_is_what_differs_from_fixed() -> None:
    ablation = arms_config().ablation()
    assert ablation is not None
    assert (ablation.seeds, ablation.trials, str(ablation)) == (2, 8, "4 arms by 2 seeds")
    assert [each.name for each in ablation.arms] == ["conv", "dropout", "sgd", "sigmoid"]
    assert arm("conv") == Arm(name="conv", against=(), overrides={})
    assert arm("dropout") == Arm(name="dropout", against=("conv",), overrides={"dropout": 0.3})
    sgd = arm("sgd")
    assert sgd.against == ("conv", "dropout")
    assert {"optimizer": "sgd", "sgd.learning_rate": 0.05}.items() <= sgd.overrides.items()
    assert arm("sigmoid").overrides == {"blocks": 0, "dense_units": 8, "activation": "sigmoid"}


def test_a_spec_of_both_keeps_what_the_arm_does_not_say() -> None:
    assert arm("x", x={"optimizer": {"adam": {"learning_rate": 0.01}}}).overrides == {"adam.learning_rate": 0.01}


def test_what_is_said_of_all_blocks_holds_over_what_fixed_says_of_one() -> None:
    tables = copy.deepcopy(TABLES)
    tables["fixed"] |= {"blocks": 2, "filters_2": 4}
    tables["arms"] |= {"x": {"filters": 8}, "y": {"filters": 8, "filters_2": 16}}
    ablation = StudyConfig.from_dict(tables).ablation()
    assert ablation is not None
    found = {each.name: each.overrides for each in ablation.arms}
    assert (found["x"]["filters_1"], found["x"]["filters_2"]) == (8, 8)
    assert (found["y"]["filters_1"], found["y"]["filters_2"]) == (8, 16)


def test_a_study_of_arms_neither_draws_nor_prunes_and_comes_back() -> None:
    config = arms_config()
    assert (config.sampler.type, config.pruner.type, config.is_queued) == ("arms", "none", True)
    assert StudyConfig.from_dict(config.to_dict()) == config
    assert small_config().ablation() is None
    assert not small_config().is_queued


def test_arms_may_be_added_without_another_space() -> None:
    assert arms_config().space_hash == arms_config(seeds=3, more={"dropout": 0.1}).space_hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"seeds": 1, "a": {}, "b": {"dropout": 0.1}}}, "arms.seeds must be a whole number from 2 to 1000"),
        ({"arms": {"seeds": 2, "a": {}}}, "arms must have from 2 to 200 arms to compare, but got 1"),
        ({"arms": {"seed": 2, "a": {}}}, "arms.seed must be a table, but got 2; write [arms.seed], or `seeds`."),
        ({"arms": {"a": {}, "b c": {}}}, 'arms."b c" must be called by letters'),
        ({"arms": {"a": {}, "b": {"against": "c"}}}, 'arms.b.against must be another arm, but got "c"'),
        ({"arms": {"a": {}, "b": {"against": "b"}}}, 'arms.b.against must be another arm, but got "b"'),
        ({"arms": {"a": {}, "b": {"against": 3}}}, "arms.b.against must be an arm's name, or a list, but got 3"),
        ({"arms": {"a": {}, "b": {"droput": 0.1}}}, "arms.b.droput is not a key of a study; did you mean 'dropout'?"),
        ({"arms": {"a": {}, "b": {"dropout": 2}}}, "arms.b.dropout must be a number from 0 to 0.9, but got 2"),
        ({"arms": {"a": {}, "b": {"dropout": [0.1]}}}, "arms.b.dropout must be one value in an arm, but got [0.1]"),
        ({"arms": {"a": {}, "b": {"optimizer": ["adam", "sgd"]}}}, "arms.b.optimizer must be one in an arm, but got"),
        ({"arms": {"a": {}, "b": {"learning_rate": 1}}}, "write it under [arms.b.optimizer."),
        ({"fixed": {"dropout": 3}}, "study: fixed.dropout must be a number from 0 to 0.9, but got 3"),
        ({"search": {"dropout": [0.1, 0.2]}}, "search.dropout must not stand beside [arms]"),
        ({"sampler": {"type": "tpe"}}, 'sampler.type must be "arms" beside [arms], but got "tpe"; leave it out.'),
        ({"pruner": {"type": "median"}}, 'pruner.type must be "none" beside [arms], but got "median"; leave it out.'),
        ({"study": {"name": "x", "baselines": ["mlp3"]}}, "study.baselines must be none beside [arms]"),
        ({"budget": {"epochs": 1, "trials": 3}}, "budget.trials must not stand beside [arms], but got 3"),
        ({"arms": {}, "sampler": {"type": "arms"}}, 'sampler.type must be another one without [arms], but got "arms"'),
    ],
)
def test_what_cannot_be_compared_is_one_line_that_names_it(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StudyConfig.from_dict(copy.deepcopy(TABLES) | {"budget": {"epochs": 2, "time": "9m"}} | changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_residual_arm_differs_from_a_plain_one_by_that_alone() -> None:
    ablation = load_study("residual", root=ROOT).ablation()
    assert ablation is not None
    assert ablation.seeds >= 5
    arms = {each.name: each for each in ablation.arms}
    pairs = [(arms[name], arms[f"{name}_residual"]) for name in ("plain", "deep")]
    assert all(residual.against[0] == plain.name for plain, residual in pairs)
    for plain, residual in pairs:
        more = {name: value for name, value in residual.overrides.items() if plain.overrides.get(name) != value}
        assert {**plain.overrides, **more} == residual.overrides
        assert {name.partition("_")[0] for name in more} == {"residual"}


def test_the_shipped_study_has_five_seeds_and_its_page_names_its_arms() -> None:
    ablation = load_study("ablation", root=ROOT).ablation()
    assert ablation is not None
    assert ablation.seeds >= 5
    page = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    assert all(f"{each.name}" in page for each in ablation.arms)
