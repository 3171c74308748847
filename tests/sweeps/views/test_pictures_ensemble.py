from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError
from mnistnn.metrics import cross_entropy
from sweeps.ensemble.evaluate import share_interval
from sweeps.ensemble.record import read_report
from sweeps.paths import Paths, StudyPaths
from sweeps.views.pictures import NothingToDraw, ensemble_pictures
from sweeps.views.pictures.calibration import draw_reliability, fit_temperature, reliability, tempered
from sweeps.views.pictures.catalogue import ENSEMBLE
from sweeps.views.pictures.ensemble_facts import EnsembleFacts, gather_ensemble
from sweeps.views.pictures.images import doubtful, draw_filters
from sweeps.views.pictures.members import agreement, draw_agreement, draw_members
from tests.sweeps.command import Home
from tests.sweeps.views.drawings import drawn_with_faults

ALL = {"members", "confusion", "reliability", "agreement", "filters", "doubts"}
SEED = 1  # of studies/smoke.toml


def ensemble_folder(swept: Home) -> Path:
    """Returns the folder of the ensemble that was built first, which other tests may have built others after."""
    folders = [path.parent for path in Paths(swept.root).study("smoke").ensemble.glob("*/ensemble.json")]
    return next(folder for folder in folders if len(read_report(folder / "ensemble.json", "smoke").members) == 2)


@pytest.fixture(scope="module")
def facts(swept: Home, sample: Dataset) -> EnsembleFacts:
    paths, folder = Paths(swept.root).study("smoke"), ensemble_folder(swept)
    report = read_report(folder / "ensemble.json", "smoke")
    return gather_ensemble(report, paths, sample, seed=SEED, probs=folder / "probs.npz")


def many(facts: EnsembleFacts, count: int) -> EnsembleFacts:
    """Returns an ensemble of so many members, which are the known ones again and again."""
    chosen = [facts.report.members[i % 2] for i in range(count)]
    label = "conv 16-32x2-64 k5-3-3 pool 1,2 valid bn dense 256"
    members = tuple(
        replace(each, weight=1 / count, member=replace(each.member, label=label)) if i > 1 else each
        for i, each in enumerate(chosen)
    )
    return replace(
        facts,
        report=replace(facts.report, members=members),
        member_probs=facts.member_probs[[i % 2 for i in range(count)]],
        seen=facts.seen[[i % 2 for i in range(count)]],
    )


def test_an_ensemble_has_its_pictures(swept: Home) -> None:
    folder = ensemble_folder(swept)
    assert {path.stem for path in folder.glob("*.png")} == ALL
    events = (folder / "events.jsonl").read_text()
    assert all(f'"file":"{name}.png","folder":"pictures"' in events for name in ALL)
    stored = {path.stem for path in (swept.root / "mlruns" / "artifacts").rglob("artifacts/pictures/*.png")}
    assert stored >= ALL
    assert all(path.stat().st_size < 60_000 for path in folder.glob("*.png"))


@pytest.mark.parametrize("count", [2, 10])
def test_no_text_is_cut_off_or_lies_over_another(facts: EnsembleFacts, count: int) -> None:
    shown = many(facts, count)
    found = {picture.name: drawn_with_faults(picture.draw(shown), picture.title)[1] for picture in ENSEMBLE}
    assert found == {name: [] for name in found}
    assert set(found) == ALL


def test_no_test_image_is_opened(
    facts: EnsembleFacts, sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the test images were opened")

    monkeypatch.setattr(Dataset, "open_test", refuse)
    said: list[str] = []
    files = ensemble_pictures(facts.report, facts.paths, sample, tmp_path, seed=SEED, say=said.append)
    assert {path.stem for path in files} == ALL
    assert said == []


def test_one_member_agrees_with_nobody(facts: EnsembleFacts) -> None:
    with pytest.raises(NothingToDraw, match="only one member"):
        draw_agreement(many(facts, 1))


def test_predictions_that_are_gone(facts: EnsembleFacts, sample: Dataset, tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "smoke")
    shutil.copytree(facts.paths.trials, paths.trials)
    number = facts.report.members[1].member.number
    (paths.trial(number) / "weights.npz").unlink()
    later = gather_ensemble(facts.report, paths, sample, seed=SEED)
    assert later.test is None
    titles = " ".join(text.get_text() for text in draw_filters(later).texts)
    assert f"#{number:03d}" not in titles
    assert facts.names[0] in titles
    assert "of the validation images" in draw_reliability(later).axes[0].get_ylabel()
    (paths.trial(number) / "val_probs.npz").unlink()
    with pytest.raises(CheckpointError):
        gather_ensemble(facts.report, paths, sample, seed=SEED)


def test_members_agree_as_often_as_they_do(facts: EnsembleFacts) -> None:
    shares = agreement(facts)
    first, second = facts.member_probs.argmax(axis=2)
    assert shares.shape == (3, 3)
    assert shares[0, 1] == shares[1, 0] == np.mean(first == second)
    assert shares[2, 0] == np.mean(first == facts.probs.argmax(axis=1))
    assert list(np.diag(shares)) == [1, 1, 1]


def test_an_interval_is_that_of_the_images_that_a_member_has_answered(facts: EnsembleFacts) -> None:
    seen = facts.seen.copy()
    seen[1, ::2] = False
    images = int(seen[1].sum())
    assert images < len(facts.labels)
    axes = draw_members(replace(facts, seen=seen)).axes[0]
    chosen, test = axes.containers[:2]
    shares = [each.scores.val.accuracy for each in facts.report.members]
    wanted = [share_interval(facts.report.scores.val.accuracy, len(facts.labels))]
    wanted += [share_interval(share, count) for share, count in zip(shares, (len(facts.labels), images), strict=True)]
    ends = [(segment[:, 0].min(), segment[:, 0].max()) for segment in chosen.lines[2][0].get_segments()]
    np.testing.assert_allclose(ends, [(each.low, each.high) for each in wanted])
    assert chosen.get_label() == f"validation, {len(facts.labels):,} images ({images:,}–{len(facts.labels):,} a member)"
    assert test.get_label() == f"test, {facts.report.data['test_images']:,} images"


def test_a_temperature_makes_the_best_of_the_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 10)) * 2
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(10, p=row) for row in exact])
    sure = tempered(exact.astype(np.float32), 0.5)  # it thinks itself twice as sure as it is
    temperature = fit_temperature(labels, sure)
    assert temperature == pytest.approx(2.0, rel=0.08)
    assert cross_entropy(labels, tempered(sure, temperature)) < cross_entropy(labels, sure)
    assert reliability(labels, tempered(sure, temperature)).error < 0.03 < reliability(labels, sure).error
    assert np.array_equal(tempered(sure, temperature).argmax(axis=1), sure.argmax(axis=1))


def test_bins_of_reliability() -> None:
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.45, 0.55], [0.0, 1.0]], np.float32)
    found = reliability(np.array([0, 1, 1, 1]), probs)
    assert list(found.count) == [1, 2, 1] or list(found.count) == [1, 3]
    assert found.accuracy[0] == 1.0
    assert found.count.sum() == 4


def test_wilson_s_interval() -> None:
    found = share_interval(0.9, 100)  # Wilson 1927: 0.826 to 0.945
    assert (found.low, found.high) == (pytest.approx(0.8256, abs=1e-3), pytest.approx(0.9448, abs=1e-3))
    assert share_interval(1.0, 500).high == 1.0
    assert 0.99 < share_interval(1.0, 500).low < 1.0
    assert share_interval(0.0, 500).low == 0.0


@pytest.mark.parametrize(("wrong", "most", "expected"), [(2, 8, 2), (30, 8, 6), (0, 8, 0), (3, 500, 3)])
def test_the_sheet_has_both_the_wrong_and_the_unsure(
    facts: EnsembleFacts, wrong: int, most: int, expected: int
) -> None:
    labels = facts.probs.argmax(axis=1)
    labels[:wrong] = (labels[:wrong] + 1) % 10
    chosen = doubtful(replace(facts, labels=labels), most)
    is_wrong = facts.probs[chosen].argmax(axis=1) != labels[chosen]
    assert len(chosen) == len(set(chosen.tolist())) == min(most, len(labels))
    assert list(is_wrong) == [True] * expected + [False] * (len(chosen) - expected)
    surest = facts.probs[chosen[:expected]].max(axis=1)
    assert list(surest) == sorted(surest, reverse=True)
