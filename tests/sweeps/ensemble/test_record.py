from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mnistnn.errors import CheckpointError
from sweeps.ensemble.evaluate import Interval, Score
from sweeps.ensemble.members import Member
from sweeps.ensemble.record import EnsembleReport, Gain, Scored, Scores, load_ensemble, load_report, save_report
from sweeps.ensemble.report import as_markdown, as_text
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths


def make_report(members: int = 2, **changes: Any) -> EnsembleReport:
    scores = Scores(Score(0.991, 0.03), Score(0.989, 0.035))
    interval = Gain(Interval(0.001, -0.0005, 0.0025), Interval(0.004, 0.001, 0.007))
    values: dict[str, Any] = {
        "study": "night",
        "method": "mean",
        "considered": members,
        "finished": 9,
        "members": tuple(
            Scored(Member(n, "conv | 8", f"{n:064x}", 0.1 + n), 1 / members, scores) for n in range(members)
        ),
        "scores": scores,
        "val_gain": interval,
        "test_gain": interval,
        "confusion": tuple(tuple(90 if i == j else (i + j) % 3 for j in range(10)) for i in range(10)),
        "test_openings": 1,
        "data": {"name": "mnist", "digest": "d" * 64, "validation_images": 10000, "test_images": 10000},
        "digest": "e" * 64,
        "versions": {"python": "3.11", "numpy": "2"},
        "commit": None,
        "time": "2026-01-01T00:00:00+00:00",
    }
    return EnsembleReport(**(values | changes))


def test_a_report_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "night")
    report = make_report()
    save_report(report, paths.ensemble / "ensemble.json")
    assert load_report(paths) == report
    ensemble = load_ensemble(paths)
    assert [member.number for member in ensemble.members] == [0, 1]
    assert ensemble.weights == (0.5, 0.5)


def test_an_old_record_can_be_read(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "night")
    values = make_report(stage="final").to_dict()
    values.pop("carried")
    for each in values["members"]:
        each.pop("images")
    paths.ensemble.mkdir(parents=True)
    (paths.ensemble / "ensemble.json").write_text(json.dumps(values))
    report = load_report(paths)
    assert (report.carried, report.answers, report.ranked_by) == (None, None, "out-of-fold loss")
    assert "gain over #000, the best by out-of-fold loss (95 %" in as_text(report)
    assert "A member's own figures" not in as_markdown(report)


def test_no_ensemble_yet_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match="study 'night' must have an ensemble, but has none yet; build it with `ensemble night`"
    ):
        load_report(StudyPaths(tmp_path / "night"))


def _with(**changes: Any) -> str:
    return json.dumps(make_report().to_dict() | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        _with(format=2),
        _with(members=[]),
        _with(members=[3]),
        _with(more=1),
        _with(data={}),
        _with(data=[3]),
        _with(members=[{"member": {"number": "../x"}, "weight": 1, "scores": {}}]),
        _with(members=[make_report().to_dict()["members"][0] | {"weight": "x"}]),
        json.dumps(make_report().to_dict()).replace('"number": 0', '"number": -1'),
        json.dumps(make_report().to_dict()).replace('"number": 0', '"number": "../../x"'),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path: Path, text: str) -> None:
    paths = StudyPaths(tmp_path / "night")
    paths.ensemble.mkdir(parents=True)
    (paths.ensemble / "ensemble.json").write_text(text)
    with pytest.raises(CheckpointError, match="build the ensemble again with `ensemble night`") as caught:
        load_report(paths)
    assert "\n" not in str(caught.value)


def test_the_text_names_members_scores_and_gain() -> None:
    text = as_text(make_report())
    assert (
        text.splitlines()[0]
        == "ensemble of 2 · mean · study night (the best 2 of 9 finished trials by validation loss)"
    )
    assert "#000      conv | 8    0.50  99.10 %    0.0300   98.90 %     0.0350" in text
    assert "gain over #000" in text
    assert "accuracy +0.10 [-0.05, +0.25] points, loss -0.0040 [-0.0070, -0.0010]" in text
    assert "opened once so far" in text
    assert max(map(len, text.splitlines())) <= 120


def test_an_ensemble_that_does_not_help_says_so() -> None:
    worse = Gain(Interval(-0.001, -0.002, 0.0), Interval(-0.01, -0.02, -0.001))
    assert "hint: #000 alone has the lower validation loss; `--method greedy`" in as_text(make_report(val_gain=worse))
    assert "hint" not in as_text(make_report(test_gain=worse))  # the test images give no advice


def test_one_member_has_no_gain() -> None:
    text = as_text(make_report(1, considered=3, method="greedy"))
    assert "#000 is the only member" in text
    assert "2 of them left out by greedy selection" in text


def test_the_markdown_is_whole_tables() -> None:
    lines = as_markdown(make_report()).splitlines()
    assert "| #000 | conv \\| 8 | 0.50 | 99.10 % | 0.0300 | 98.90 % | 0.0350 |" in lines
    rows = [line.replace("\\|", "") for line in lines if line.startswith("|")]
    assert {row.count("|") for row in rows} == {8, 12}
    assert sum(row.startswith("| **") for row in rows) == 11  # the ensemble, and ten labels
