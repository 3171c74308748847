from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.config import load_study
from sweeps.study.columns import differs, searched_columns
from sweeps.study.space import Space
from sweeps.tracking import table

ROOT = Path(__file__).resolve().parents[3]


def states(tags: dict[str, str]) -> dict[str, Any]:
    assert tuple(tags) == table.VIEW_TAGS
    views = [json.loads(value) for value in tags.values()]
    assert [view["name"] for view in views] == ["Trials, best first", "Charts"]
    assert views[0]["createdAt"] > views[1]["createdAt"], "MLflow lists the newest first"
    assert all(len(value) < 20_000 for value in tags.values()), "MLflow's limit"
    return {key.rpartition(".")[2]: json.loads(view["state"]) for key, view in zip(tags, views, strict=True)}


@pytest.mark.parametrize("name", ["default", "contest", "smoke"])
def test_the_views_show_what_a_study_searches(name: str) -> None:
    space = Space(load_study(name, root=ROOT))
    columns = searched_columns(space)
    found = states(table.view_tags(columns.searched, columns.axes))
    params = [column.split("`")[1] for column in found["trials"]["selectedColumns"] if column.startswith("params.")]
    alike = {"optimizer", "batch_size"} if name == "contest" else {"strides"}
    assert {"learning_rate", "optimizer", "batch_size", "dropout", "filters"} - alike <= set(params)
    same = {"epochs", "architecture", "beta2", "scaling"} | alike
    assert not same & set(params), "what is the same for all, or in the name"
    for state in found.values():
        assert state["orderByKey"] in state["selectedColumns"]
        assert state["orderByAsc"] is True
        assert set(state["selectedColumns"]) <= set(state["columnOrder"])
    charts = found["charts"]["compareRunCharts"]
    (parallel,) = (chart for chart in charts if chart["type"] == "PARALLEL")
    assert {"learning_rate", "optimizer", "dropout"} - alike <= set(parallel["selectedParams"]) <= set(params)
    blocks_differ = name != "contest"
    assert ("filters" in parallel["selectedParams"]) != blocks_differ, "trials without one would not be drawn"
    assert parallel["selectedMetrics"][-2:] == ["best_val_loss", "best_val_accuracy"]
    sections = {section["uuid"] for section in found["charts"]["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in charts} < sections
    assert len({chart["uuid"] for chart in charts}) == len(charts) == 7


@pytest.mark.parametrize(
    ("name", "values", "differ"),
    [
        ("strides", ["1", "1-1", "1-1-1"], False),  # by the number of blocks alone
        ("strides", ["1-1", "1-2"], True),
        ("kernels", ["5-3", "3", ""], True),
        ("filters", ["16", "32-64"], True),
        ("dropout", [0.0, 0.0], False),
        ("dropout", [0.0, 1e-05], True),
        ("norm", ["none", "batch_norm"], True),
    ],
)
def test_what_differs(name: str, values: list[Any], differ: bool) -> None:
    assert differs(name, values) is differ
    assert differs(name, values[::-1]) is differ


def test_params_that_every_trial_has_are_axes() -> None:
    space = Space(load_study("default", root=ROOT))
    columns = searched_columns(space)
    assert searched_columns(space) == columns
    assert set(columns.axes) <= space.plain(space.values(*space.preset_values("conv2"))).keys()
    assert set(columns.axes) <= set(columns.searched)
    assert "dense_dropout" in set(columns.searched) - set(columns.axes), "only asked where there is a dense layer"


def test_a_study_by_accuracy_has_the_highest_first() -> None:
    found = states(table.view_tags(["dropout"], by_accuracy=True))
    assert found["trials"]["orderByKey"] == "metrics.`best_val_accuracy`"
    assert found["trials"]["orderByAsc"] is False
    assert all(chart["type"] != "PARALLEL" for chart in found["charts"]["compareRunCharts"]), "it would be empty"


def test_a_study_by_two_figures_is_ordered_by_their_mean() -> None:
    for by_accuracy in (False, True):
        state = states(table.view_tags(["dropout"], by_accuracy=by_accuracy, by_objective=True))["trials"]
        assert state["orderByKey"] == state["selectedColumns"][0] == "metrics.`best_objective`"
        assert state["orderByAsc"] is not by_accuracy
    plain = states(table.view_tags(["dropout"]))["trials"]
    assert "best_objective" not in str(plain)


def test_the_address_opens_the_view_in_the_training_ui() -> None:
    assert table.address("http://127.0.0.1:5000", "3") == (
        "http://127.0.0.1:5000/#/experiments/3/runs"
        "?workflowType=machine_learning&compareRunsMode=TABLE&viewStateShareKey=trials"
    )
    assert table.link("3", table.CHARTS).endswith("compareRunsMode=CHART&viewStateShareKey=charts")
