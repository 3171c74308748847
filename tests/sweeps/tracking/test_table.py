from __future__ import annotations

import json
from pathlib import Path

from sweeps.config import load_study
from sweeps.study.space import Space
from sweeps.tracking import table

ROOT = Path(__file__).resolve().parents[3]


def test_the_view_shows_params_that_trials_have() -> None:
    space = Space(load_study("default", root=ROOT))
    plain = space.plain(space.values(*space.preset_values("conv2")))
    state = json.loads(table.view_state())
    params = [name.split("`")[1] for name in state["selectedColumns"] if name.startswith("params.")]
    assert len(params) > 5
    assert set(params) <= plain.keys()
    assert state["orderByKey"] in state["selectedColumns"]
    assert state["orderByAsc"] is True


def test_the_address_opens_the_view_in_the_training_ui() -> None:
    assert table.address("http://127.0.0.1:5000", "3") == (
        "http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=trials"
    )
    assert table.VIEW_TAG.endswith(".trials")
