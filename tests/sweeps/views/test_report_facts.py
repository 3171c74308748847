"""The facts of a report against a small study that was computed by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from optuna.trial import TrialState

from sweeps.study.lineage import REPEATS
from sweeps.views.report.facts import ReportFacts
from tests.sweeps.views.recorded import DIGEST, IMAGES, Recorded


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    recorded = Recorded(tmp_path_factory.mktemp("recorded"))
    recorded.complete(0.90, 0.30, epoch_s=2.0)  # 0: the best
    recorded.complete(0.88, 0.35, filters=2, preset="small", role="baseline")  # 1
    recorded.add(  # 2: 3 epochs of 3 s saved
        TrialState.PRUNED,
        reason="pruned after epoch 1 of 4",
        epochs_run=1,
        seconds=3.0,
        epoch_s=3.0,
        val_loss=0.9,
        val_accuracy=0.7,
    )
    recorded.add(TrialState.PRUNED, reason="diverged: loss is nan", epochs_run=2, seconds=1.0, dropout=0.2)  # 3
    recorded.add(TrialState.FAIL, requeued=True)  # 4, which 5 goes on with
    recorded.complete(0.86, 0.40, origin=4)
    recorded.add(TrialState.FAIL, reason="ValueError: broken")  # 6
    for seed, accuracy in ((1, 0.88), (2, 0.90)):  # 7 and 8
        recorded.complete(accuracy, 0.2, asked=True, **{REPEATS: {"trial": 0, "seed": seed}})
    recorded.add(TrialState.WAITING, values={1: 0.5})  # 9
    recorded.study.set_user_attr("elapsed_s", 100.0)
    recorded.predict(0, range(10))
    recorded.predict(1, range(12))
    recorded.ledger(
        json.dumps({"time": "2026-01-02T03:04:05+00:00", "purpose": "train --test small", "digest": DIGEST}),
        json.dumps({"time": "2026-01-02T03:04:06+00:00", "purpose": "other data", "digest": "cd" * 32}),
        '{"time": "2026-01-02T03:0',
        json.dumps({"time": "2026-01-03T03:04:05+00:00", "purpose": "ensemble", "digest": DIGEST}),
        "[]",
    )
    return recorded


@pytest.fixture(scope="module")
def facts(recorded: Recorded) -> ReportFacts:
    return recorded.facts()


def test_trials_the_best_first(facts: ReportFacts) -> None:
    assert [(trial.number, trial.state) for trial in facts.trials] == [
        (7, "complete"),
        (8, "complete"),
        (0, "complete"),
        (1, "complete"),
        (4, "complete"),
        (2, "pruned"),
        (3, "diverged"),
        (6, "failed"),
        (9, "waiting"),
    ]
    by_number = {trial.number: trial for trial in facts.trials}
    assert by_number[4].attempts == 2
    assert by_number[1].role == "baseline small"
    assert by_number[7].role == "repeats #000, seed 1"
    assert by_number[6].reason == "ValueError: broken"
    assert (by_number[9].epochs, by_number[9].planned) == (1, 4)
    assert by_number[3].epoch_s == 0.5
    assert by_number[0].values["filters"] == "4"
    assert facts.columns == ("filters", "dropout")


def test_what_was_spent_and_saved(facts: ReportFacts) -> None:
    effort = facts.effort
    assert (effort.complete, effort.pruned, effort.diverged, effort.failed, effort.waiting) == (5, 1, 1, 1, 1)
    assert effort.trials == 9
    assert effort.counted == 5  # the complete ones but for the repeats, the pruned and the diverged one
    assert (effort.attempts, effort.resumed) == (9, 1)
    assert effort.epochs == 5 * 4 + 1 + 2 + 0 + 1
    assert effort.seconds == 8 + 4 + 4 + 4 + 4 + 3 + 1
    assert (effort.epochs_saved, effort.seconds_saved) == (3, 9.0)
    assert effort.share_saved == pytest.approx(9 / (28 + 9))
    assert effort.elapsed_s == 100.0
    assert effort.failures == ((6, "ValueError: broken"),)


def test_the_winner_is_no_repeat(facts: ReportFacts) -> None:
    winner = facts.winner
    assert winner is not None
    assert winner.trial.number == 0
    assert winner.images == IMAGES
    assert winner.accuracy is not None
    assert winner.loss is not None
    assert (winner.accuracy.low, winner.accuracy.high) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert winner.loss.low < winner.loss.estimate < winner.loss.high
    assert winner.test_accuracy is None


def test_the_winners_curse(facts: ReportFacts) -> None:
    curse = facts.curse
    assert curse is not None
    assert curse.trials == 3  # 0, 1 and 4
    assert curse.error == pytest.approx(0.03)
    assert curse.spread == pytest.approx(0.02)
    assert curse.bound == pytest.approx(0.03 * 0.84628, abs=1e-5)
    assert curse.expected == pytest.approx(curse.bound)  # the spread is below the error
    assert curse.compared == 2
    assert curse.ties == 1
    assert curse.optimism == 0.0  # who errs on two more images never wins
    assert curse.wins == 1.0
    assert curse.gaps == ()


def test_seed_noise(facts: ReportFacts) -> None:
    (row,) = facts.seeds.rows
    assert (row.number, row.first, row.accuracies) == (0, 0.90, (0.88, 0.90))
    assert row.deviation == pytest.approx(0.01 * math.sqrt(2))
    assert facts.seeds.deviation == row.deviation
    assert row.mean is not None
    assert row.mean.estimate == pytest.approx(0.89)
    assert row.mean.high == pytest.approx(0.89 + 12.7062 * 0.01, abs=1e-5)


def test_openings_of_these_images_alone(facts: ReportFacts) -> None:
    assert [opening.purpose for opening in facts.openings] == ["train --test small", "ensemble"]


def test_the_space(facts: ReportFacts) -> None:
    rows = {row.name: row for row in facts.searched}
    assert set(rows) == {"filters, block 1", "dropout", "learning rate of adam"}
    assert (rows["filters, block 1"].values, rows["filters, block 1"].winner) == ("2, 4", "4")
    assert rows["dropout"].values == "0 to 0.3"
    assert rows["learning rate of adam"].values == "0.001 to 0.01, drawn by its logarithm"
    assert {row.name: row.values for row in facts.fixed} == {"blocks": "1", "kernel": "3", "batch size": "100"} | {
        "optimizer": "adam"
    }


def test_the_verdict_says_what_to_expect(facts: ReportFacts) -> None:
    assert (
        facts.headline.replace("\xa0", " ")
        == "90.00 % of the validation digits read right, by one network (trial #000)"
    )
    won, whether = (each.replace("\xa0", " ") for each in facts.verdict)
    assert won == (
        "Trial #000 (conv 4 k3) is the best of 3 networks trained to their end: it reads 90.00 % of the 100 validation "
        "digits correctly."
    )
    assert whether == (
        "Take that as a little too good, for the same digits chose it: expect hardly anything less on new ones, "
        "and its only rival cannot be told from it; no test digit has been read yet."
    )


def test_as_json(facts: ReportFacts) -> None:
    plain = json.loads(json.dumps(facts.to_dict()))
    assert plain["winner"]["trial"]["number"] == 0
    assert plain["effort"]["seconds_saved"] == 9.0


def test_blocks_share_a_row_where_they_may_be_the_same(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, fixed={"kernel": 3, "batch_size": 100}, search__blocks={"low": 1, "high": 3})
    rows = {row.name: (row.values, row.when) for row in recorded.facts().searched}
    assert rows["filters, each block"] == ("2, 4", "")
    assert rows["blocks"] == ("1, 2, 3", "")
    assert "filters, block 2" not in rows


def test_a_study_by_accuracy_has_the_highest_first(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, study={"name": "small", "seed": 3, "metric": "val_accuracy"})
    for accuracy in (0.8, 0.9):
        recorded.add(val_accuracy=accuracy, val_loss=accuracy, epochs_run=4)
    facts = recorded.facts()
    assert facts.winner is not None
    assert facts.winner.trial.number == 1
