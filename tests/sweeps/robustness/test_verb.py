from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset
from sweeps.ensemble.record import load_report
from sweeps.paths import Paths
from sweeps.robustness import read_robustness
from sweeps.robustness.variants import GROUPS
from sweeps.tracking import store
from sweeps.views.pictures.robustness import draw_robustness, picture_title
from tests.sweeps.command import Home
from tests.sweeps.views.drawings import drawn_with_faults

NAMES = [*(group.name for group in GROUPS), "other digits"]


@pytest.fixture(scope="module")
def shared(swept: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the study with its ensemble, which was tried on 40 of its validation images."""
    root = tmp_path_factory.mktemp("tried") / "home"
    shutil.copytree(swept.root, root)
    home = Home(root, swept.data)
    said = home("robustness", "smoke", "--images", 40)
    assert said.code == 0, said.err
    assert [line.split("  ")[0] for line in said.err.splitlines()[1:21]] == NAMES
    assert said.out.splitlines()[0].endswith("· study smoke, 40 validation images, drawn from all")
    return home


def folder(home: Home) -> Path:
    return Paths(home.root).study("smoke").parent


def openings(home: Home) -> int:
    return len(Paths(home.root).test_ledger.read_text().splitlines())


def test_an_ensemble_is_tried_once(shared: Home, swept: Home) -> None:
    before = shared.files()
    again = shared("robustness", "smoke", "--images", 40, "--json")
    assert again.code == 0
    assert again.err.splitlines() == [f"{again.json['title']}: tried before"]
    assert [each["name"] for each in again.json["groups"]] == NAMES
    assert (again.json["part"], again.json["images"], again.json["test_openings"]) == ("validation", 40, None)
    assert shared.files() == before
    assert openings(shared) == openings(swept)  # the test images chose and told nothing


def test_its_files_and_figures_are_the_study_s_in_mlflow(shared: Home) -> None:
    found = read_robustness(folder(shared) / "robustness.json")
    assert found is not None
    mlflow = store.client(store.resolve_uri(None, shared.root))
    experiment = mlflow.get_experiment_by_name("sweeps-smoke")
    assert experiment is not None
    runs = mlflow.search_runs([experiment.experiment_id], filter_string="attributes.run_name = 'study smoke'")
    (run,) = runs
    shift = found.group("shift 4 px").ensemble.accuracy.estimate
    assert run.data.metrics["robustness/shift_4_px"] == pytest.approx(shift, rel=1e-4)
    assert {"robustness/as_they_are", "robustness/turn_20", "robustness/noise_sigma_64"} <= run.data.metrics.keys()
    assert len([name for name in run.data.metrics if name.startswith("robustness/")]) == len(NAMES)
    artifacts = {file.path for file in mlflow.list_artifacts(run.info.run_id)}
    assert {"robustness.json", "robustness.md"} <= artifacts
    assert [file.path for file in mlflow.list_artifacts(run.info.run_id, "pictures") if "robust" in file.path] == [
        "pictures/robustness.png"
    ]
    note = experiment.tags["mlflow.note.content"]
    assert f"**Robustness:** {found.title} on 40 validation images: " in note
    assert "affine" in note


@pytest.mark.slow
def test_what_is_unchanged_is_what_the_ensemble_was_built_by(shared: Home, sample: Dataset) -> None:
    said = shared("robustness", "smoke", "--quiet", "--json", "--no-pictures")
    report = load_report(Paths(shared.root).study("smoke"))
    clean = said.json["groups"][0]
    assert said.json["images"] == 300
    assert clean["ensemble"]["accuracy"]["estimate"] == pytest.approx(report.scores.val.accuracy)
    assert clean["ensemble"]["loss"] == pytest.approx(report.scores.val.loss, rel=1e-4)
    for figures, member in zip(clean["members"], report.members, strict=True):
        assert figures["accuracy"]["estimate"] == pytest.approx(member.scores.val.accuracy)
    shared("robustness", "smoke", "--images", 40, "--quiet")  # as the other tests have it


@pytest.mark.slow
def test_the_test_images_are_opened_once_and_counted(shared: Home) -> None:
    before = openings(shared)
    said = shared("robustness", "smoke", "--test", "--json")
    assert said.code == 0, said.err
    assert (said.json["part"], said.json["images"], said.json["test_openings"]) == ("test", 500, before + 1)
    assert openings(shared) == before + 1
    assert json.loads(Paths(shared.root).test_ledger.read_text().splitlines()[-1])["purpose"] == (
        "robustness of study smoke"
    )
    clean = said.json["groups"][0]["ensemble"]["accuracy"]["estimate"]
    assert clean == pytest.approx(load_report(Paths(shared.root).study("smoke")).scores.test.accuracy)
    again = shared("robustness", "smoke", "--test")
    assert again.err.splitlines()[0].endswith("tried before; the test images were not opened again")
    assert f"opened {before + 1} times so far" in again.out.replace("\n", " ")
    assert openings(shared) == before + 1
    assert read_robustness(folder(shared) / "robustness.json") is not None  # beside it
    fewer = shared("robustness", "smoke", "--test", "--images", 40)  # some of them, where all are known
    assert fewer.err.splitlines()[0].endswith("tried before; the test images were not opened again")
    assert openings(shared) == before + 1


def test_some_of_the_test_images_will_do(shared: Home, tmp_path: Path) -> None:
    root = tmp_path / "home"
    shutil.copytree(shared.root, root)
    home = Home(root, shared.data)
    (folder(home) / "robustness-test.json").unlink(missing_ok=True)
    before = openings(home)
    some = home("robustness", "smoke", "--test", "--images", 40)
    assert some.out.splitlines()[0].endswith("· study smoke, 40 test images, drawn from all")
    assert openings(home) == before + 1
    assert "`sweeps robustness smoke --test --images 40`" in (folder(home) / "robustness-test.md").read_text()
    home("robustness", "smoke", "--test", "--images", 40, "--no-pictures")
    assert openings(home) == before + 1


def test_no_test_image_is_opened_where_a_member_cannot_answer(shared: Home, tmp_path: Path) -> None:
    root = tmp_path / "home"
    shutil.copytree(shared.root, root)
    home = Home(root, shared.data)
    paths, before = Paths(root).study("smoke"), openings(home)
    (paths.parent / "robustness-test.json").unlink(missing_ok=True)
    (paths.trial(load_report(paths).members[-1].member.number) / "weights.npz").write_bytes(b"PK")
    said = home("robustness", "smoke", "--test")
    assert said.code == 2
    assert "weights.npz has" in said.err
    assert openings(home) == before


def refused(home: Home, *arguments: Any) -> str:
    said = home("robustness", *arguments)
    assert said.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_what_cannot_be_done_is_one_line(shared: Home, sample_dir: Path, tmp_path: Path) -> None:
    assert "must have an ensemble" in refused(shared, "default")
    assert "'--images'" in refused(shared, "smoke", "--images", 3)
    other = tmp_path / "data"
    shutil.copytree(sample_dir, other)
    images = sorted(other.glob("t10k-images*"))[0]
    images.rename(other / images.name.replace("t10k", "kept"))
    shutil.copy(next(other.glob("train-images*")), images)
    shutil.copy(next(other.glob("train-labels*")), next(other.glob("t10k-labels*")))
    assert "must be tried on the data it was run on" in refused(shared, "smoke", "--data-dir", other)


def test_the_picture_can_be_read(shared: Home, sample: Dataset) -> None:
    found = read_robustness(folder(shared) / "robustness.json")
    assert found is not None
    png, faults = drawn_with_faults(draw_robustness(found, np.asarray(sample.train_images)), picture_title(found))
    assert faults == []
    assert len(png) < 100_000


def test_who_came_without_a_network_is_named(shared: Home, tmp_path: Path) -> None:
    root = tmp_path / "home"
    shutil.copytree(shared.root, root)
    path = Paths(root).study("smoke").ensemble / "ensemble.json"
    values = json.loads(path.read_text())
    values["members"][0]["member"]["outside"] = "torch"
    path.write_text(json.dumps(values))
    assert "but +torch came from outside without one" in refused(Home(root, shared.data), "smoke")
