"""Augmentations that a trial may do without: from the study's file to the recipe, the tables and another study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from mnistnn.augment.noise import Noise
from mnistnn.augment.rotation import Rotation
from mnistnn.augment.translation import Translation
from mnistnn.checkpoint import read_header
from mnistnn.data import Dataset
from mnistnn.domains import Choice
from sweeps.config import StudyConfig
from sweeps.errors import ConfigError
from sweeps.study.augmented import same_choices, spelled, used
from sweeps.study.columns import searched_columns
from sweeps.study.enqueue import enqueue
from sweeps.study.grid import grid_points
from sweeps.study.lookup import find_trial, values_of
from sweeps.study.sampler import distribution, make_sampler
from sweeps.study.space import Space
from sweeps.study.storage import load_study
from sweeps.study.transfer import Transfer
from sweeps.views.compare import compare
from sweeps.views.report.space import searched_rows
from sweeps.views.trials import trials_frame
from tests.sweeps.small import make_bench, make_study, paths_of, run_next, small_config

ROW: dict[str, Any] = {
    "translation": {"shift": {"low": 1, "high": 2}},
    "rotation": {"use": [True, False], "degrees": {"low": 5, "high": 20}},
    "noise": {"sigma": [8.0, 32.0]},
}


def small(row: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    return small_config(search__augment=ROW if row is None else row, **changes)


def test_a_trial_without_it_is_asked_no_more_and_its_recipe_leaves_it_out() -> None:
    space = Space(small())
    assert space.domains["rotation.use"] == Choice(True, False)
    assert space.domains["noise.use"] == Choice(True)  # nothing was said: every trial has it
    assert "translation.use" not in space.domains
    asked = {"filters_1": 2, "dropout": 0.1, "adam.learning_rate": 1e-3, "translation.shift": 1, "noise.sigma": 8.0}
    given = asked | {"rotation.use": False}
    values = space.values(given)
    assert "rotation.degrees" not in values
    assert used(values) == ["noise", "translation"]
    assert space.recipe(values).training.augment == (Noise(sigma=8.0), Translation(shift=1))
    values = space.values(given | {"rotation.use": True, "rotation.degrees": 7.0})
    assert space.recipe(values).training.augment == (Noise(sigma=8.0), Rotation(degrees=7.0), Translation(shift=1))


def test_samplers_draw_both_and_a_grid_counts_each_once() -> None:
    config = small()
    space = Space(config)
    study = optuna.create_study(sampler=make_sampler(config, space))
    drawn = [space.suggest_with(study.ask()) for _ in range(30)]
    with_it = [values for values in drawn if "rotation" in used(values)]
    assert 5 < len(with_it) < 25
    assert all(("rotation.degrees" in values) == (values in with_it) for values in drawn)
    row = {"rotation": {"use": [True, False], "degrees": [5.0, 10.0, 20.0]}, "translation": {"shift": [1, 2]}}
    grid = small_config(
        search={"augment": row}, sampler__type="grid", fixed={"blocks": 1, "filters": 2, "optimizer": "adam"}
    )
    assert len(grid_points(Space(grid))) == (3 + 1) * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"translation": {"use": [True, False]}}, "translation.use is not asked of 'translation', which stays"),
        ({"rotation": {"use": [1, 0]}}, "rotation.use must be one of True, False, but got 1"),
        ({"rotation": {"use": "maybe"}}, "rotation.use must be one of True, False"),
        ({"rotation": {"usee": [True]}}, "did you mean 'use'"),
        ({"rotation": {"degrees": 90}}, "must be a number from 0 to 45, but got 90"),
    ],
)
def test_what_cannot_be_asked_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        small(row)
    assert "\n" not in str(caught.value)


def test_tables_show_what_a_trial_has_and_whose_amount_it_is() -> None:
    space = Space(small(ROW | {"scaling": {"use": [True, False], "amount": {"low": 0.0, "high": 0.2}}}))
    asked = {"filters_1": 2, "dropout": 0.1, "adam.learning_rate": 1e-3, "translation.shift": 1, "noise.sigma": 8.0}
    plain = space.plain(space.values(asked | {"rotation.use": False, "scaling.use": True, "scaling.amount": 0.1}))
    assert plain["augment"] == "noise+scaling+translation"
    assert (plain["rotation.use"], plain["scaling.amount"], plain["shift"]) == (False, 0.1, 1)
    assert "degrees" not in plain
    columns = searched_columns(space)
    assert {"augment", "rotation.use", "scaling.use", "degrees", "scaling.amount", "shift", "noise.sigma"} <= {
        *columns.searched
    }
    assert {"augment", "rotation.use", "shift"} <= {*columns.axes}
    assert "degrees" not in columns.axes  # not every trial has one


def test_the_report_says_when_it_is_asked() -> None:
    config = small()
    rows = {row.name: row for row in searched_rows(config, {"rotation.use": False})}
    assert (rows["use of rotation"].when, rows["degrees of rotation"].when) == ("", "with rotation")
    assert rows["use of rotation"].winner
    assert rows["sigma of noise"].when == ""


@pytest.mark.parametrize(
    ("wanted", "row", "switches"),
    [
        (["noise", "translation"], "noise+rotation+translation", {"rotation.use": False, "noise.use": True}),
        (["noise", "rotation", "translation"], "noise+rotation+translation", {"rotation.use": True, "noise.use": True}),
        (["translation"], "translation", {}),  # of this study, every trial has noise
        (["rotation", "noise"], "noise+rotation", {"noise.use": True, "rotation.use": True}),
        (["translation", "shear"], "shear+translation", {"shear.use": True}),
        ([], "none", {}),
    ],
)
def test_rows_are_spelled_as_the_study_has_them(wanted: list[str], row: str, switches: dict[str, bool]) -> None:
    assert spelled(wanted, Space(small()).domains) == {"augment": row} | switches


def test_the_same_augmentations_are_the_same_however_they_are_spelled() -> None:
    short: dict[str, Any] = {"augment": "translation", "translation.shift": 1}
    long = short | {"augment": "rotation+translation", "rotation.use": False}
    assert same_choices(short, long)
    assert not same_choices(short, long | {"rotation.use": True, "rotation.degrees": 5.0})
    assert not same_choices(short, long | {"translation.shift": 2})
    assert not same_choices(short, {"augment": "none"})


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["rotation.use=false"], {"rotation.use": False}),
        (["augment=noise+translation"], {"rotation.use": False, "augment": "noise+rotation+translation"}),
        (["augment=noise+rotation+translation"], {"rotation.use": True}),
        (["degrees=12"], {"rotation.use": True, "rotation.degrees": 12.0}),
        (["augment=translation"], {"augment": "translation"}),
        (["augment=translation+shear", "shear.amount=0.3"], {"shear.use": True, "shear.amount": 0.3}),
    ],
    ids=" ".join,
)
def test_it_can_be_asked_for(texts: list[str], wanted: dict[str, Any], tmp_path: Path, sample: Dataset) -> None:
    config = small()
    paths, space = paths_of(config, tmp_path), Space(config)
    study = make_study(config, tmp_path, sample)
    queued = enqueue(load_study(config.name, None, paths), paths, texts, budget=config)
    values = values_of(find_trial(study, queued.trial), space)
    assert {name: values[name] for name in wanted} == wanted


def test_a_wish_that_another_one_rules_out_is_refused(tmp_path: Path, sample: Dataset) -> None:
    config = small()
    paths = paths_of(config, tmp_path)
    make_study(config, tmp_path, sample)
    study = load_study(config.name, None, paths)
    with pytest.raises(ConfigError, match=r"degrees=12 is of no use beside rotation.use=false"):
        enqueue(study, paths, ["degrees=12", "rotation.use=false"], budget=config)
    with pytest.raises(ConfigError, match=r"must be given once"):
        enqueue(study, paths, ["augment=noise+translation", "rotation.use=true"], budget=config)


def test_trials_of_a_study_without_it_come_over_as_trials_that_do_without_it() -> None:
    old = small({"translation": {"shift": {"low": 1, "high": 2}}})
    new = small({name: ROW[name] for name in ("translation", "rotation")})
    space = Space(old)
    params = {"filters_1": 2, "dropout": 0.1, "adam.learning_rate": 1e-3, "translation.shift": 1}
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=0.1,
        params=params,
        distributions={name: distribution(space.domains[name]) for name in params},
    )
    brought = Transfer(old, new).fit(trial)
    assert brought.params == params | {"rotation.use": False}
    assert Space(new).recipe(values_of(brought, Space(new))) == space.recipe(values_of(trial, space))


def test_presets_have_no_more_than_they_say() -> None:
    space = Space(small({name: ROW[name] for name in ("translation", "rotation")}))
    fits, overrides = space.preset_values("conv2")
    assert fits["rotation.use"] is False
    assert "augment" not in overrides
    recipe = space.recipe(space.values(fits, overrides))
    assert recipe.training.augment == (Translation(shift=2),)


def test_trials_run_with_and_without_and_are_shown(tmp_path: Path, sample: Dataset) -> None:
    config = small(budget__trials=2, budget__epochs=1)
    study = make_study(config, tmp_path, sample)
    bench = make_bench(config, tmp_path, sample)
    for switch in (True, False):
        chosen = {"rotation.use": switch} | ({"rotation.degrees": 10.0} if switch else {})
        study.enqueue_trial(chosen)
        assert run_next(study, bench) == TrialState.COMPLETE
    headers = [read_header(bench.paths.trial(number) / "weights.npz") for number in (0, 1)]
    rows = [[spec["type"] for spec in header["training"]["augment"]] for header in headers]
    assert rows == [["noise", "rotation", "translation"], ["noise", "translation"]]
    frame = trials_frame(study).set_index("trial")
    assert frame["rotation.use"].tolist() == [True, False] or frame["rotation.use"].tolist() == [False, True]
    assert frame["rotation.degrees"].isna().sum() == 1
    compared = compare(study, bench.paths, 0, 1)
    assert compared.differing["rotation.use"] == (True, False)
    assert compared.differing["degrees"] == (10.0, None)
    assert compared.differing["augment"] == ("noise+rotation+translation", "noise+translation")
    assert "rotation.use" in str(compared)
