from __future__ import annotations

import json
from pathlib import Path

import optuna
import pandas
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mnistnn.errors import OutputError
from sweeps.views.trials import render, render_best, to_json, trials_frame, write_csv


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study()
    rate = {"adam.learning_rate": FloatDistribution(1e-4, 1e-1, log=True)}
    both = rate | {"params": IntDistribution(1, 9)}  # a parameter that is called like a column
    figures = {
        "label": "conv 8",
        "val_accuracy": 0.98765,
        "best_epoch": 2,
        "epochs_run": 3,
        "seconds": 12.34,
        "epoch_s": 4.12,
        "epoch_s_estimate": 3.96,
        "params": 9000,
    }

    def add(value: float | None, state: TrialState, *, params: int | None = None, **attributes: object) -> None:
        chosen = {"adam.learning_rate": 1e-3} | ({} if params is None else {"params": params})
        known = {"val_loss": value} | figures if state == TrialState.COMPLETE else {}
        study.add_trial(
            create_trial(
                value=value,
                state=state,
                params=chosen,
                distributions=rate if params is None else both,
                user_attrs=known | attributes,
                intermediate_values={1: 0.5} if state == TrialState.RUNNING else {},
            )
        )

    add(0.2, TrialState.COMPLETE, params=4)
    add(None, TrialState.FAIL, requeued=True)
    add(0.1, TrialState.COMPLETE, origin=1)
    add(0.15, TrialState.PRUNED, reason="pruned after epoch 1 of 3")
    add(None, TrialState.RUNNING)
    add(None, TrialState.WAITING)
    return study


def test_one_row_a_trial_the_best_first(study: optuna.Study) -> None:
    frame = trials_frame(study)
    assert list(frame["trial"]) == [1, 0, 3, 4, 5]
    assert list(frame["state"]) == ["COMPLETE", "COMPLETE", "PRUNED", "RUNNING", "WAITING"]
    assert frame["val_loss"][0] == 0.1
    assert frame["adam.learning_rate"][0] == 1e-3
    assert frame["params"][0] == 9000
    assert frame["params (parameter)"][1] == 4
    assert frame["epochs"][3] == 1


def test_a_study_by_accuracy_has_the_highest_first() -> None:
    study = optuna.create_study(direction="maximize")
    for value in (0.1, 0.3, 0.2):
        study.add_trial(create_trial(value=value))
    assert list(trials_frame(study)["trial"]) == [1, 2, 0]


def test_as_text(study: optuna.Study) -> None:
    lines = render(trials_frame(study)).splitlines()
    header = "trial state network val_loss val_accuracy epochs seconds epoch_s estimate params"
    assert lines[0].split() == header.split()
    assert lines[1].split() == ["#001", "COMPLETE", "conv", "8", "0.1000", "0.9877", "3", "12.3", "4.1", "4.0", "9,000"]
    assert len(lines) == 6
    assert max(map(len, lines)) <= 100


def test_an_empty_study_is_a_header() -> None:
    assert len(render(trials_frame(optuna.create_study())).splitlines()) == 1


def test_as_json_and_csv(study: optuna.Study, tmp_path: Path) -> None:
    frame = trials_frame(study)
    records = json.loads(to_json(frame))
    assert records[0]["val_accuracy"] == 0.98765
    assert records[4]["val_loss"] is None
    write_csv(frame, tmp_path / "new" / "trials.csv")
    again = pandas.read_csv(tmp_path / "new" / "trials.csv")
    assert list(again.columns) == list(frame.columns)
    assert list(again["trial"]) == [1, 0, 3, 4, 5]


def test_a_csv_that_cannot_be_written(study: optuna.Study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_csv(trials_frame(study), tmp_path / "file" / "trials.csv")


def test_a_narrow_terminal_has_fewer_columns(study: optuna.Study) -> None:
    frame = trials_frame(study)
    assert render(frame, 200) == render(frame)
    for width in range(30, 110):
        lines = render(frame, width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].split()[0] == "trial"
        assert "val_accuracy" in lines[0]
    assert render(frame, 30).splitlines()[0].split() == ["trial", "network", "val_accuracy"]


def test_the_best_are_those_that_are_complete(study: optuna.Study) -> None:
    assert [line.split()[0] for line in render_best(study).splitlines()] == ["trial", "#001", "#000"]
    assert [line.split()[0] for line in render_best(study, most=1).splitlines()] == ["trial", "#001"]
    assert render_best(optuna.create_study()) == ""
