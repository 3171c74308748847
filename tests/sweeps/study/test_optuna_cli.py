"""A study for who knows Optuna: its own command line and its dashboard work on our storages, with our results."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import optuna
import pytest
from werkzeug.test import Client

from mnistnn.data import Dataset
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.serve.dashboard import Dashboard
from sweeps.study.storage import load_study, open_storage, open_study
from tests.optional import need
from tests.sweeps.small import make_bench, paths_of, run_next, small_config

pytestmark = pytest.mark.slow

_OPTUNA = "import sys; from optuna.cli import main; sys.exit(main())"
Stored = tuple[optuna.Study, str, StudyPaths]


@pytest.fixture(scope="module", params=["journal", "sqlite"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Stored:
    """A study of three trials, its storage as Optuna's command line has it, and its paths."""
    config, root = small_config(), tmp_path_factory.mktemp("optuna")
    paths = paths_of(config, root)
    url = f"sqlite:///{root}/optuna.db" if request.param == "sqlite" else str(paths.journal)
    open_study(config, open_storage(url, paths), sample.digest)
    study = load_study(config.name, url, paths)
    bench = make_bench(config, root, sample)
    while run_next(study, bench) is not None:
        pass
    return study, url, paths


def said(storage: str, *arguments: str) -> Any:
    """Returns what a call of Optuna's command line prints, as JSON."""
    command = [sys.executable, "-W", "ignore", "-c", _OPTUNA, *arguments, "--storage", storage, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_optunas_command_line_lists_the_study_its_trials_and_the_best(stored: Stored) -> None:
    study, url, _ = stored
    (listed,) = said(url, "studies")
    assert (listed["name"], listed["n_trials"], listed["direction"]) == (study.study_name, 3, ["MINIMIZE"])
    trials = said(url, "trials", "--study-name", study.study_name)
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    for trial, ours in zip(trials, study.trials, strict=True):
        assert trial["value"] == ours.value
        assert trial["state"] == "COMPLETE"
        assert trial["params"] == ours.params
        assert trial["user_attrs"]["label"] == ours.user_attrs["label"]
    best = said(url, "best-trial", "--study-name", study.study_name)
    assert (best["number"], best["value"]) == (study.best_trial.number, study.best_value)


@pytest.fixture
def browser(stored: Stored) -> Client:
    need("optuna_dashboard", "`make setup-dev` installs it")
    study, url, paths = stored
    return Client(Dashboard(study.study_name, url, paths))


def test_the_dashboard_shows_the_study(browser: Client, stored: Stored) -> None:
    study = stored[0]
    answer = browser.get(f"/api/studies/{study._study_id}", base_url="http://127.0.0.1:5010")
    assert [trial["values"] for trial in answer.json["trials"]] == [[trial.value] for trial in study.trials]
    assert answer.json["objective_names"] == ["val_loss"]
    assert study.metric_names is None, "Optuna's own tables stay as they are"
    with browser.get(f"/dashboard/studies/{study._study_id}", base_url="http://localhost:5010") as page:  # a file
        assert page.status_code == 200
        assert b"<html" in page.data


def test_the_dashboard_keeps_notes_and_refuses_all_other_changes(browser: Client, stored: Stored) -> None:
    study = stored[0]
    number, here = study._study_id, "http://127.0.0.1:5010"
    note = {"version": 1, "body": "the first of these\nis the one"}
    kept = browser.put(f"/api/studies/{number}/note", json=note, base_url=here, headers={"Origin": here})
    assert kept.status_code == 204
    trial = study.trials[0]._trial_id
    before = [(each.state, each.values, each.user_attrs) for each in study.trials]
    for method, path in (
        ("DELETE", f"/api/studies/{number}"),
        ("POST", f"/api/studies/{number}/rename"),
        ("POST", "/api/studies"),
        ("POST", f"/api/trials/{trial}/tell"),
        ("POST", f"/api/trials/{trial}/user-attrs"),
        ("POST", f"/api/studies/{number}/note"),
        ("PUT", f"/api/studies/{number}/preference_feedback_component"),
    ):
        answer = browser.open(path, method=method, json={}, base_url=here)
        assert answer.status_code == 403, path
        assert "notes alone" in answer.json["reason"]
    again = load_study(study.study_name, stored[1], stored[2])
    assert [(each.state, each.values, each.user_attrs) for each in again.trials] == before
    shown = browser.get(f"/api/studies/{number}", base_url=here).json
    assert shown["note"]["body"] == note["body"]


def test_the_dashboard_answers_this_machine_alone(browser: Client) -> None:
    assert browser.get("/api/studies", base_url="http://elsewhere.example:5010").status_code == 403
    note = {"version": 9, "body": "x"}
    answer = browser.put(
        "/api/studies/0/note", json=note, base_url="http://127.0.0.1:5010", headers={"Origin": "http://elsewhere"}
    )
    assert answer.status_code == 403


def test_without_the_extra_one_line_says_how_to_get_it(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    study, url, paths = stored
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(StudyError, match="make dashboard") as caught:
        Dashboard(study.study_name, url, paths)
    assert "\n" not in str(caught.value)
