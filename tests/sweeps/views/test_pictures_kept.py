from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from mnistnn.data import Dataset
from sweeps.care.archive.contents import files_of_ensembles, files_of_parent, is_study_file
from sweeps.ensemble import build_ensemble
from sweeps.paths import Paths, StudyPaths
from sweeps.tracking.events import parse
from sweeps.views.pictures.kept import keep_study_pictures
from sweeps.workers.supervisor import run_study
from tests.sweeps.command import Home
from tests.sweeps.small import paths_of, small_config
from tests.sweeps.views.drawings import drawn_study


@pytest.fixture
def copy(swept: Home, tmp_path: Path, database: Path) -> Home:
    """A project in which the study `smoke` has run, to do with as one likes; nothing of it is in MLflow yet."""
    home = Home.make(tmp_path / "copy", swept.data, database)
    shutil.copytree(swept.root / "studies" / "smoke", home.root / "studies" / "smoke")
    return home


def artifacts(folder: Path) -> list[str]:
    events = [parse(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    named = [event["file"] for event in events if event and event["kind"] == "artifact"]
    return [name for name in named if name.endswith(".png")]  # another test may have had the report written


def test_a_kill_before_the_drawing_leaves_it_to_the_next_run(copy: Home) -> None:
    paths = Paths(copy.root).study("smoke")
    before = artifacts(paths.parent)
    assert copy("run", "smoke").code == 0
    assert artifacts(paths.parent) == before  # they are there: nothing is drawn again
    shutil.rmtree(paths.pictures)
    for path in paths.parent.glob("*.png"):
        path.unlink()
    said = copy("run", "smoke", "--no-pictures")
    assert said.code == 0
    assert not paths.pictures.exists()
    said = copy("run", "smoke")
    assert "6 pictures are in studies/smoke/pictures. No picture of importances: it takes 15 trials" in said.err
    assert len(list(paths.pictures.iterdir())) == 6
    assert artifacts(paths.parent) == [*before, *before]


def test_an_archive_has_the_pictures(swept: Home) -> None:
    paths = Paths(swept.root).study("smoke")
    names = [name for name, _ in (*files_of_parent(paths), *files_of_ensembles(paths)) if name.endswith(".png")]
    assert {"parent/history.png", "pictures/history.png", "ensemble/confusion.png"} < set(names)
    assert all(is_study_file(name) for name in names)
    assert not is_study_file("pictures/../history.png")


def run_small(root: Path, sample: Dataset, finish: Callable[..., Any]) -> tuple[int, list[str]]:
    said: list[str] = []
    summary = run_study(
        small_config(budget__trials=2, budget__epochs=1),
        root=root,
        dataset=sample,
        workers=1,
        finish=finish,
        echo=said.append,
    )
    return summary.exit_code, said


@pytest.mark.slow
def test_a_failure_to_draw_is_one_line(tmp_path: Path, sample: Dataset) -> None:
    def fail(study: optuna.Study, paths: StudyPaths, say: Callable[[str], object], wanted: object) -> list[str]:
        raise RuntimeError("no font\nwas found")

    (tmp_path / "studies").mkdir()
    code, said = run_small(tmp_path, sample, fail)
    assert code == 0
    assert [line for line in said if "drawn" in line] == ["the study was not drawn (RuntimeError: no font)."]
    assert artifacts(paths_of(small_config(), tmp_path).parent) == []
    code, said = run_small(tmp_path, sample, keep_study_pictures)
    assert code == 0
    assert "history.png" in artifacts(paths_of(small_config(), tmp_path).parent)


def test_a_study_in_which_nothing_ended_is_not_drawn(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise AssertionError(line)

    paths = StudyPaths(tmp_path)
    assert keep_study_pictures(drawn_study(3, failed=True), paths, refuse, lambda: True) == []
    assert not paths.pictures.exists()


def test_an_ensemble_s_pictures_come_and_go_with_it(copy: Home, sample: Dataset) -> None:
    from sweeps.config import load_study

    config = load_study("smoke", root=copy.root)
    paths = Paths(copy.root).study("smoke")
    said: list[str] = []

    def build(draw: Any, **more: Any) -> Any:
        return build_ensemble(config, root=copy.root, dataset=sample, draw=draw, echo=said.append, **more)

    def fail(report: object, folder: Path) -> list[str]:
        raise ValueError("no font")

    def draw(report: object, folder: Path) -> list[str]:
        (folder / "late.png").write_bytes(b"\x89PNG")
        return ["late.png"]

    report = build(fail, top=1, method="greedy")
    assert report.untracked is None
    assert "warning: the ensemble was not drawn (ValueError: no font)." in said
    assert list(paths.ensemble.glob("*.png")) == []  # those of the one before show another ensemble
    again = build(draw, top=1, method="greedy")
    assert again.run_id == report.run_id
    assert [path.name for path in paths.ensemble.glob("*.png")] == ["late.png"]
    shown = (copy.root / "mlruns" / "artifacts").rglob("artifacts/pictures/late.png")
    assert [path.parents[2].name for path in shown] == [report.run_id]
    build(fail, top=1, method="greedy")  # which is not asked again
    assert len([line for line in said if "not drawn" in line]) == 1
