from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError
from mnistnn.metrics import accuracy, cross_entropy
from sweeps.ensemble import as_markdown, as_text, build_ensemble, load_report
from sweeps.ensemble.choice import choose
from sweeps.ensemble.pools import rank
from sweeps.ensemble.report import FILES
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.ensemble.tracking import _record
from sweeps.errors import StudyError
from sweeps.notebook import Study
from sweeps.robustness.evaluation import held_out
from tests.sweeps.ensemble.conftest import TRIALS, Home
from tests.sweeps.ensemble.finals import add_final, fold_of

AWAY = "http://127.0.0.1:9"  # nothing listens there


def _choose(home: Home, **more: Any) -> Any:
    return choose(home.study, home.config, home.paths, **more)


def _rewrite(home: Home, number: int, change: Any) -> None:
    """Changes what a trial predicted."""
    path = home.paths.trial(number) / "val_probs.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | change(arrays)))


def test_members_are_ranked_by_what_they_are_worth_once_calibrated(home: Home) -> None:
    best = rank(home.study, home.config, home.paths)[0].number
    # As if the best one had been trained with smoothed labels: as often right, much less sure.
    _rewrite(home, best, lambda arrays: {"probs": tempered(arrays["probs"], 4.0)})
    raw = {number: cross_entropy(*home.val_probs(number)[::-1]) for number in range(TRIALS)}
    assert min(raw, key=raw.__getitem__) != best
    ranked = rank(home.study, home.config, home.paths)
    expected = {}
    for number in range(TRIALS):
        probs, labels = home.val_probs(number)
        expected[number] = cross_entropy(labels, tempered(probs, fit_temperature(labels, probs)))
    assert [member.number for member in ranked] == sorted(expected, key=expected.__getitem__)
    assert [member.calibrated_loss for member in ranked] == sorted(expected.values())
    assert ranked[0].number == best


def test_a_trial_without_predictions_keeps_its_place_by_the_loss_it_recorded(home: Home) -> None:
    last = home.ranked()[-1]
    (home.paths.trial(last) / "val_probs.npz").unlink()
    assert last in [member.number for member in rank(home.study, home.config, home.paths)]
    _choose(home, top=2)
    with pytest.raises(CheckpointError, match="val_probs.npz is missing; `replay smoke"):
        _choose(home, top=TRIALS)


def test_the_temperature_is_fitted_after_averaging(home: Home) -> None:
    chosen = _choose(home, top=3, method="mean")
    mean = np.mean([home.val_probs(member.number)[0] for member in chosen.ensemble.members], axis=0, dtype=np.float64)
    labels = home.val_probs(0)[1]
    assert chosen.ensemble.temperature == pytest.approx(fit_temperature(labels, mean), rel=1e-3)
    assert chosen.ensemble.temperature != 1.0


def test_trials_that_say_their_images_go_with_those_that_do_not(home: Home, sample: Dataset) -> None:
    plain = _choose(home, top=TRIALS, dataset=sample)
    rows = sample.split(home.config.seed)[1].indices
    np.testing.assert_array_equal(plain.evidence.indices, rows)
    _rewrite(home, 3, lambda _: {"indices": rows})
    for dataset in (sample, None):
        mixed = _choose(home, top=TRIALS, dataset=dataset)
        assert mixed.evidence.is_full
        assert mixed.ensemble == plain.ensemble
        np.testing.assert_array_equal(mixed.evidence.indices, rows)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (lambda rows: rows[:-1], "must say of which images they are, each once"),
        (lambda rows: np.zeros_like(rows), "must say of which images they are, each once"),
        (lambda rows: rows.astype(np.float64), "must say of which images they are, each once"),
        (lambda rows: rows - rows.max() - 1, "must say of which images they are, each once"),
        (lambda rows: rows[::-1].copy(), "belongs to others"),
        (lambda rows: rows + 10**6, "belongs to others"),
    ],
)
def test_places_that_cannot_be_are_refused(home: Home, sample: Dataset, indices: Any, message: str) -> None:
    rows = sample.split(home.config.seed)[1].indices
    _rewrite(home, home.ranked()[0], lambda _: {"indices": indices(rows)})
    with pytest.raises(CheckpointError, match=message) as caught:
        _choose(home, top=TRIALS, dataset=sample)
    assert "\n" not in str(caught.value)


def test_the_final_stages_members_are_taken_where_there_are_any(home: Home, sample: Dataset) -> None:
    best, second = home.ranked()[:2]
    with pytest.raises(StudyError, match="none; take --stage search"):
        _choose(home, stage="final")
    numbers = [add_final(home, sample, of, fold) for fold, of in enumerate((best, second, best, second))]
    numbers.append(add_final(home, sample, second, 0))
    chosen = _choose(home, dataset=sample, method="mean")
    assert chosen.stage == "final"
    assert sorted(member.number for member in chosen.ensemble.members) == sorted(numbers)  # more than `ensemble.top`
    assert chosen.considered == chosen.finished == 5
    assert all(np.isfinite(member.val_loss) for member in chosen.ensemble.members)
    np.testing.assert_array_equal(chosen.evidence.indices, np.arange(len(sample.train_labels)))
    assert chosen.evidence.seen.sum(axis=0).max() == 2
    assert len(_choose(home, dataset=sample, top=2, stage="final").ensemble.members) == 2
    searched = _choose(home, dataset=sample, stage="search")
    assert searched.stage == "search"
    assert not {member.number for member in searched.ensemble.members} & set(numbers)
    assert searched.finished == TRIALS


def test_an_ensemble_of_the_final_stage_is_scored_out_of_fold(home: Home, sample: Dataset) -> None:
    best = home.ranked()[0]
    for fold in range(2):
        add_final(home, sample, best, fold)
    report = build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    assert (report.stage, report.chosen_by) == ("final", "out-of-fold")
    count = sum(len(fold_of(sample, fold, 4)) for fold in range(2))
    assert report.data["validation_images"] == count
    with np.load(home.paths.ensemble / "probs.npz") as file:
        np.testing.assert_array_equal(file["val_labels"], sample.train_labels[file["val_indices"]])
        assert accuracy(file["val_labels"], file["val"]) == report.scores.val.accuracy
    assert load_report(home.paths).stage == "final"
    text = as_text(report)
    assert "(all 2 finished members of the final stage)" in text.splitlines()[0]
    assert "oof acc" in text
    assert "out-of-fold" in text
    assert "validation" not in text


def test_the_best_of_a_final_stage_are_of_the_best_network(home: Home, sample: Dataset) -> None:
    ranked = home.ranked()
    best, worst = ranked[0], ranked[-1]
    finals = {add_final(home, sample, of, fold): of for fold, of in enumerate((best, worst, best, worst))}
    labels = {of: home.study.get_trials(deepcopy=False)[of].user_attrs["label"] for of in (best, worst)}
    assert labels[best] != labels[worst]
    lucky = next(number for number, of in finals.items() if of == worst)
    _rewrite(home, lucky, lambda arrays: {"probs": np.eye(10, dtype=np.float32)[arrays["labels"]]})
    order = rank(home.study, home.config, home.paths, dataset=sample, stage="final")
    means: dict[str, list[float]] = {}
    for member in order:
        assert member.calibrated_loss is not None
        means.setdefault(member.label, []).append(member.calibrated_loss)
    assert [np.mean(losses) for losses in means.values()] == sorted(np.mean(losses) for losses in means.values())
    for losses in means.values():
        assert losses == sorted(losses)
    chosen = _choose(home, dataset=sample, stage="final", top=2, method="mean")
    assert [member.number for member in chosen.ensemble.members] == [member.number for member in order[:2]]
    report = build_ensemble(
        home.config, root=home.root, dataset=sample, top=2, tracking_uri=AWAY, echo=lambda line: None
    )
    assert report.best.member.number == order[0].number
    for text in (as_text(report), as_markdown(report)):
        assert (
            "the best 2 of 4 finished members of the final stage by calibrated out-of-fold loss, its network's first"
            in text
        )


def test_an_out_of_fold_figure_is_not_called_a_validation_figure(home: Home, sample: Dataset) -> None:
    best = home.ranked()[0]
    number = add_final(home, sample, best, 0)

    def build(**more: Any) -> Any:
        return build_ensemble(
            home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None, **more
        )

    wanted = {"validation": "best_val", "out-of-fold": "out_of_fold", "held-out": "held_out"}
    reports = [build(stage="search"), build(stage="final"), build(numbers={"smoke": [best, number]})]
    assert [report.chosen_by for report in reports] == list(wanted)
    for report in reports:
        folder = home.root / report.chosen_by
        folder.mkdir()
        _record(report, folder, FILES, (), home.config, sample)
        start, *_, end = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
        name = wanted[report.chosen_by]
        assert end["metrics"][f"{name}_accuracy"] == report.scores.val.accuracy
        assert end["metrics"][f"{name}_loss"] == report.scores.val.loss
        assert [key for key in end["metrics"] if "val" in key] == (
            ["best_val_accuracy", "best_val_loss"] if name == "best_val" else []
        )
        assert [each["context"] for each in start["inputs"]] == [report.chosen_by, "test"]
        ensemble = report.ensemble(home.paths)
        assert held_out(report, ensemble, sample, seed=home.config.seed).part == report.chosen_by


def test_members_say_of_how_many_images_their_figures_are(home: Home, sample: Dataset) -> None:
    best = home.ranked()[0]
    for fold in range(2):
        add_final(home, sample, best, fold)
    report = build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)
    counts = [len(fold_of(sample, fold, 4)) for fold in range(2)]
    assert sorted(each.images or 0 for each in report.members) == sorted(counts)
    assert report.answers == 1
    assert f"of the {sum(counts):,} images; an image has the answers of 1.0 of the 2 members" in as_markdown(report)


def test_the_report_says_what_each_way_of_weighing_is_worth(home: Home, sample: Dataset) -> None:
    report = build_ensemble(
        home.config, root=home.root, dataset=sample, top=3, tracking_uri=AWAY, echo=lambda line: None
    )
    assert [each.method for each in report.methods] == ["mean", "weighted", "greedy"]
    lines = as_text(report).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("ways of weighing, each scored on validation"))
    assert [line.split()[-3:] != [] for line in lines[start + 1 : start + 5]]
    assert sum("→" in line for line in lines) == 1
    assert any(line.startswith(f"temperature {report.temperature:.4g}, fitted on the validation") for line in lines)
    assert max(map(len, lines)) <= 120


def test_a_notebook_sees_the_final_stage_too(home: Home, sample: Dataset) -> None:
    best = home.ranked()[0]
    for fold in range(2):
        add_final(home, sample, best, fold)
    ensemble = Study("smoke", root=home.root).ensemble(method="mean")
    assert len(ensemble) == 2
    assert 0 < ensemble.val_accuracy.low < ensemble.val_accuracy.high <= 1


def test_the_mark_of_a_final_member_is_the_studys_own() -> None:
    """The ensemble names it itself, for who only predicts shall not wait for Optuna."""
    from sweeps.ensemble import members
    from sweeps.study import lineage

    assert members.FINAL == lineage.FINAL
