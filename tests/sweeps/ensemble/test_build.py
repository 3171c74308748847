from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.checkpoint import load_model
from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, OutputError
from mnistnn.files import sha256_file
from mnistnn.metrics import accuracy, cross_entropy
from sweeps.ensemble import as_text, build_ensemble, load_ensemble, load_report
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths
from sweeps.tracking.store import client
from tests.sweeps.ensemble.conftest import TRIALS, Home

AWAY = "http://127.0.0.1:9"  # nothing listens there


def _build(home: Home, sample: Dataset, **more: Any) -> Any:
    return build_ensemble(home.config, root=home.root, dataset=sample, echo=lambda line: None, **more)


def test_the_report_says_what_the_networks_do(home: Home, sample: Dataset) -> None:
    report = _build(home, sample, top=3, tracking_uri=AWAY)
    best = home.ranked()[:3]
    assert [each.member.number for each in report.members] == best
    assert (report.considered, report.finished, report.method) == (3, TRIALS, "mean")

    test = sample.open_test("this test", home.root / "another.jsonl")
    images, labels = sample.split(home.config.seed)[1].take()
    networks = [load_model(home.paths.trial(number) / "weights.npz") for number in best]
    own = fit_temperature(labels, networks[0].predict_proba(images))
    for on, truth, part in ((images, labels, "val"), (test.images, test.labels, "test")):
        alone = [network.predict_proba(on) for network in networks]
        for each, probs in zip(report.members, alone, strict=True):
            found = getattr(each.scores, part)
            assert found.accuracy == accuracy(truth, probs)
            assert found.loss == pytest.approx(cross_entropy(truth, probs), rel=1e-5)
        mean = np.mean(alone, axis=0, dtype=np.float64)
        found, gain = getattr(report.scores, part), getattr(report, f"{part}_gain")
        assert found.accuracy == accuracy(truth, mean)
        assert found.loss == pytest.approx(cross_entropy(truth, tempered(mean, report.temperature)), rel=1e-5)
        assert gain.accuracy.estimate == pytest.approx(found.accuracy - getattr(report.best.scores, part).accuracy)
        best_loss = cross_entropy(truth, tempered(alone[0], own))  # or the gain would be the temperature's
        assert gain.loss.estimate == pytest.approx(best_loss - found.loss, rel=1e-3, abs=1e-5)
        assert gain.accuracy.low < gain.accuracy.estimate < gain.accuracy.high
    assert np.sum(report.confusion) == 500
    assert np.trace(report.confusion) / 500 == report.scores.test.accuracy


def test_what_is_saved_is_the_report(home: Home, sample: Dataset) -> None:
    report = _build(home, sample, tracking_uri=AWAY)
    folder = home.paths.ensemble
    assert len(report.members) == home.config.ensemble.top == 2
    assert load_report(home.paths) == replace(report, untracked=None)
    record = json.loads((folder / "ensemble.json").read_text())
    for each in record["members"]:
        weights = home.paths.trial(each["member"]["number"]) / "weights.npz"
        assert each["member"]["weights_sha256"] == sha256_file(weights)
    assert str(home.root) not in (folder / "ensemble.json").read_text() + (folder / "report.md").read_text()
    with open(folder / "confusion.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["label", "predicted_0"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == [list(row) for row in report.confusion]
    with np.load(folder / "probs.npz", allow_pickle=False) as file:
        assert accuracy(file["val_labels"], file["val"]) == report.scores.val.accuracy
        assert accuracy(file["test_labels"], file["test"]) == report.scores.test.accuracy
        images = sample.open_test("this test", home.root / "another.jsonl").images
        np.testing.assert_allclose(load_ensemble(home.paths).predict_proba(images), file["test"], atol=1e-6)


def test_the_test_images_are_opened_once_and_not_for_the_same_ensemble_again(home: Home, sample: Dataset) -> None:
    first = _build(home, sample, tracking_uri=AWAY)
    assert (first.test_openings, home.openings) == (1, 1)
    again = _build(home, sample, tracking_uri=AWAY)
    assert home.openings == 1
    assert again == first
    other = _build(home, sample, top=1, tracking_uri=AWAY)
    assert (other.test_openings, home.openings) == (2, 2)
    back = _build(home, sample, tracking_uri=AWAY)
    assert (back, home.openings) == (replace(first, test_openings=2), 2)
    assert load_report(home.paths).members == first.members


def test_that_another_ensemble_was_the_studys_is_said(home: Home, sample: Dataset) -> None:
    said: list[str] = []

    def build(**more: Any) -> list[str]:
        said.clear()
        build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=said.append, **more)
        return [line for line in said if line.startswith("it takes the place of")]

    assert build(method="mean") == build(method="mean") == []
    (line,) = build(method="mean", top=1)
    assert line.startswith("it takes the place of the ensemble of 2 · mean of 20")
    assert line.endswith(", which its own call brings back.")
    assert len(build(method="mean")) == 1
    (home.paths.ensemble / "ensemble.json").write_text("{}")
    assert build(method="mean", top=1) == []


def test_openings_since_an_ensemble_was_built_are_told_and_leave_its_record(home: Home, sample: Dataset) -> None:
    first = _build(home, sample, tracking_uri=AWAY)
    record = (home.paths.ensemble / "ensemble.json").read_bytes()
    sample.open_test("train --test report", Paths(home.root).test_ledger)
    again = _build(home, sample, tracking_uri=AWAY)
    assert (first.test_openings, again.test_openings, home.openings) == (1, 2, 2)
    assert "test images opened 2 times so far" in as_text(again)
    assert (home.paths.ensemble / "ensemble.json").read_bytes() == record


def test_a_damaged_record_is_made_again(home: Home, sample: Dataset) -> None:
    first = _build(home, sample, tracking_uri=AWAY)
    for record in home.paths.ensemble.rglob("ensemble.json"):
        record.write_text("{}")
    again = _build(home, sample, tracking_uri=AWAY)
    assert again.scores == first.scores
    assert load_report(home.paths).scores == first.scores


def test_greedy_weighs_and_leaves_out(home: Home, sample: Dataset) -> None:
    report = _build(home, sample, top=TRIALS, method="greedy", tracking_uri=AWAY)
    assert sum(each.weight for each in report.members) == pytest.approx(1)
    assert all(each.weight > 0 for each in report.members)
    assert report.best.member.number == home.ranked()[0]
    assert report.scores.val.loss <= report.best.scores.val.loss + 1e-6
    mean = _build(home, sample, top=TRIALS, method="mean", tracking_uri=AWAY)
    assert report.scores.val.loss <= 1.02 * mean.scores.val.loss  # it was chosen by the mean's temperature


def test_the_studys_own_method_holds_unless_another_is_named(home: Home, sample: Dataset) -> None:
    greedy = home.config.model_copy(update={"ensemble": home.config.ensemble.model_copy(update={"method": "greedy"})})
    asked = Home(home.root, greedy)
    assert _build(asked, sample, tracking_uri=AWAY).method == "greedy"
    assert _build(asked, sample, method="mean", tracking_uri=AWAY).method == "mean"
    with pytest.raises(ConfigError, match="unknown ensemble method 'median'"):
        _build(home, sample, method="median")


def test_what_cannot_be_built_leaves_the_test_images_closed(home: Home, sample: Dataset) -> None:
    with pytest.raises(StudyError, match=f"got 6 and study 'smoke' has {TRIALS} finished trials"):
        _build(home, sample, top=6)
    weights = home.paths.trial(home.ranked()[1]) / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="must be those it ended with"):
        _build(home, sample)
    assert home.openings == 0
    assert not (home.paths.ensemble / "ensemble.json").exists()


def test_a_study_that_never_ran_says_so(home: Home, sample: Dataset) -> None:
    shutil.rmtree(home.paths.folder)
    with pytest.raises(StudyError, match="has no trials yet; start with `run smoke`"):
        _build(home, sample)
    assert not home.paths.journal.exists()


def test_other_data_is_refused(home: Home, sample: Dataset) -> None:
    other = replace(sample, digests=("0" * 64, *sample.digests[1:]))
    with pytest.raises(StudyError, match="must be evaluated on the data it was run on"):
        _build(home, other)
    assert home.openings == 0


def test_a_retried_trial_is_found_under_its_first_number(home: Home, sample: Dataset) -> None:
    from optuna.trial import TrialState, create_trial

    best = home.ranked()[0]
    known = home.study.trials[best]
    home.study.add_trial(
        create_trial(
            state=TrialState.COMPLETE,
            value=known.value / 2,
            user_attrs=known.user_attrs | {"origin": best, "val_loss": known.user_attrs["val_loss"] / 2},
        )
    )
    report = _build(home, sample, tracking_uri=AWAY)
    assert report.finished == TRIALS
    assert report.best.member.number == best


def test_an_unwritable_folder_is_one_line(home: Home, sample: Dataset) -> None:
    home.paths.ensemble.write_text("in the way")
    with pytest.raises(OutputError, match="must be writable"):
        _build(home, sample, tracking_uri=AWAY)
    assert home.openings == 0


def test_it_is_tracked_registered_and_nothing_doubles(home: Home, sample: Dataset, blank_store: Path) -> None:
    edited = home.config.study.model_copy(update={"seed": 99})  # since the study was run
    first = _build(replace(home, config=home.config.model_copy(update={"study": edited})), sample)
    assert first.untracked is None
    assert first.model == "sweeps-smoke, version 1"
    assert "registered as sweeps-smoke, version 1" in as_text(first)
    again = _build(home, sample)
    assert (again.run_id, again.model) == (first.run_id, first.model)

    mlflow = client(f"sqlite:///{home.root}/mlruns/mlflow.db")
    experiment = mlflow.get_experiment_by_name("sweeps-smoke")
    runs = mlflow.search_runs([experiment.experiment_id])
    assert len(runs) == TRIALS + 1
    run = mlflow.get_run(first.run_id)
    assert (run.info.run_name, run.info.status) == ("ensemble of 2 · mean", "FINISHED")
    assert run.data.tags["role"] == "ensemble"
    assert (run.data.tags["seed"], run.data.tags["config_hash"]) == (str(home.config.seed), home.config.hash)
    assert run.data.tags["test_openings"] == "1"
    assert run.data.tags["member_runs"] == ", ".join(each.member.run_id for each in first.members)
    assert {each.member.run_id for each in first.members} < {run.info.run_id for run in runs}
    assert run.data.params["method"] == "mean"
    assert run.data.metrics["test_accuracy"] == pytest.approx(first.scores.test.accuracy, rel=1e-4)
    assert run.data.metrics["best_val_loss"] == pytest.approx(first.scores.val.loss, rel=1e-4)
    assert {entry.path for entry in mlflow.list_artifacts(first.run_id)} == {
        "ensemble.json", "report.md", "confusion.csv", "probs.npz",
    }  # fmt: skip
    assert run.data.tags["mlflow.note.content"].startswith("# Ensemble of 2")

    other = _build(home, sample, top=3)
    assert other.model == "sweeps-smoke, version 2"
    assert mlflow.get_model_version_by_alias("sweeps-smoke", "champion").run_id == other.run_id
    back = _build(home, sample)
    assert (back.model, back.run_id) == (first.model, first.run_id)
    assert mlflow.get_model_version_by_alias("sweeps-smoke", "champion").run_id == first.run_id
    assert len(mlflow.search_model_versions("name = 'sweeps-smoke'")) == 2


def test_what_could_not_be_tracked_is_delivered_later(home: Home, sample: Dataset, blank_store: Path) -> None:
    away = _build(home, sample, tracking_uri=AWAY)
    assert away.untracked is not None
    assert "was built and saved, but not tracked: the tracking server must answer" in away.untracked
    assert "\n" not in away.untracked
    assert (home.paths.ensemble / "ensemble.json").exists()
    assert [each.member.run_id for each in away.members] == [None, None]

    later = _build(home, sample)
    assert later.untracked is None
    assert all(each.member.run_id for each in later.members)
    assert load_report(home.paths).members == later.members
    assert home.openings == 1


def test_another_store_gets_all_of_it_with_its_own_runs(home: Home, sample: Dataset, blank_store: Path) -> None:
    other = home.root / "other" / "mlflow.db"
    other.parent.mkdir()
    shutil.copy(blank_store, other)
    first = _build(home, sample)
    second = _build(home, sample, tracking_uri=f"sqlite:///{other}")
    assert second.run_id != first.run_id
    run = client(f"sqlite:///{other}").get_run(second.run_id)
    assert run.data.tags["member_runs"] == ", ".join(each.member.run_id for each in second.members)
    assert run.data.tags["member_runs"] != ", ".join(each.member.run_id for each in first.members)
    assert second.model == "sweeps-smoke, version 1"
    assert home.openings == 1


def test_a_registry_that_refuses_leaves_the_report_standing(
    home: Home, sample: Dataset, blank_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.tracking import models

    real = models._logged_model

    def broken(*arguments: Any) -> Any:
        real(*arguments)
        raise RuntimeError("the registry fell over\nfor http://me:secret@store")

    monkeypatch.setattr(models, "_logged_model", broken)
    report = _build(home, sample)
    assert "the registry fell over for http://me:***@store" in report.untracked
    monkeypatch.setattr(models, "_logged_model", real)
    assert _build(home, sample).model == "sweeps-smoke, version 1"
    mlflow = client(f"sqlite:///{home.root}/mlruns/mlflow.db")
    found = mlflow.search_logged_models([mlflow.get_experiment_by_name("sweeps-smoke").experiment_id])
    assert len(found) == 1  # the one that was uploaded before is used


def test_the_report_says_where_it_is(home: Home, sample: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY)
    said = capsys.readouterr()
    assert said.out == ""  # stdout is for the caller's results
    assert "ensemble of 2: scoring on 500 test images" in said.err
