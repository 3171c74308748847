from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mnistnn.data import Dataset
from sweeps.ensemble import Preview, as_markdown, as_text, build_ensemble, choose_members, preview
from sweeps.ensemble.evaluate import share_interval
from tests.sweeps.ensemble.conftest import Home
from tests.sweeps.ensemble.finals import add_final

AWAY = "http://127.0.0.1:9"  # nothing listens there


def shown(home: Home, sample: Dataset, **more: Any) -> Preview:
    return preview(choose_members(home.config, root=home.root, dataset=sample, **more)[0])


def test_it_says_what_the_report_will_and_opens_and_saves_nothing(home: Home, sample: Dataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*") if path.is_file()}
    found = shown(home, sample, top=3, tta=1)
    assert home.openings == 0
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*") if path.is_file()} == before

    report = build_ensemble(
        home.config, root=home.root, dataset=sample, top=3, tta=1, tracking_uri=AWAY, echo=lambda line: None
    )
    assert [each.name for each in found.members] == [each.member.name for each in report.members]
    for each, then in zip(found.members, report.members, strict=True):
        assert (each.weight, each.label, each.images) == (then.weight, then.member.label, then.images)
        assert each.accuracy == share_interval(then.scores.val.accuracy, each.images)
        assert each.loss == pytest.approx(then.scores.val.loss)
    assert found.ensemble.accuracy.estimate == report.scores.val.accuracy
    assert found.ensemble.loss == pytest.approx(report.scores.val.loss)
    assert (found.methods, found.temperature, found.tta_gain) == (report.methods, report.temperature, report.tta_gain)
    text = found.text()
    assert text.splitlines()[0] == as_text(report).splitlines()[0]
    assert "ways of weighing, each scored on validation images" in text
    assert "test acc" not in text
    assert found.to_dict()["ensemble"]["images"] == 300


def test_where_each_image_has_one_answer_nothing_is_compared_and_that_is_said(home: Home, sample: Dataset) -> None:
    best, second, *_ = home.ranked()
    for fold, of in enumerate((best, second, best)):
        add_final(home, sample, of, fold)
    found = shown(home, sample)
    assert (found.method, found.methods, found.answers) == ("mean", (), 1.0)
    said = "ays of weighing were not compared: most out-of-fold images have one answer, and can tell none from another."
    assert f"w{said}" in found.text()
    assert "an out-of-fold image has the answers of 1.0 of the 3 members on average" in found.text()

    report = build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    for text in (as_text(report), as_markdown(report)):
        assert "not known: no image has more answers than one" in text  # and not a net's gain over itself
        assert said in text


def test_two_architectures_that_left_out_the_same_parts_are_compared(home: Home, sample: Dataset) -> None:
    best, second, *_ = home.ranked()
    for fold in (0, 1):
        for of in (best, second):
            add_final(home, sample, of, fold)
    found = shown(home, sample)
    assert found.answers == 2.0
    assert [each.method for each in found.methods] == ["mean", "weighted", "greedy"]


def test_the_verb_prints_it(home: Home, sample_dir: Path, tmp_path: Path) -> None:
    from tests.sweeps.command import Home as Project

    said = Project(home.root, sample_dir)("ensemble", "smoke", "--no-test", "--top", 2)
    assert said.code == 0, said.err
    assert said.out.splitlines()[0].startswith("ensemble of 2 · ")
    assert said.out.splitlines()[-1].startswith("nothing was saved, and no test image was opened")
    assert home.openings == 0
    assert not home.paths.ensemble.exists()
