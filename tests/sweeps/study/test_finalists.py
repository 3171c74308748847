from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnistnn.metrics import calibrated_loss, cross_entropy
from sweeps.paths import StudyPaths
from sweeps.study.finalists import Finalists

LABELS = np.arange(200, dtype=np.uint8) % 10


def outputs(*, sure: float, right: float, seed: int = 0) -> np.ndarray:
    """Returns softmax outputs of a net that is right so often, with logits so many times as large."""
    rng = np.random.default_rng(seed)
    answers = np.where(rng.random(len(LABELS)) < right, LABELS, (LABELS + 1) % 10)
    logits = rng.normal(0.0, 1.0, (len(LABELS), 10))
    logits[np.arange(len(LABELS)), answers] += 4.0
    logits *= sure
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


class Kept:
    """Trials that ended, and their predictions."""

    def __init__(self, root: Path) -> None:
        self.paths = StudyPaths(root)
        self.metric = "val_loss"
        self.trials: list[FrozenTrial] = []

    def add(self, label: str, val_loss: float, probs: np.ndarray | None = None, **attributes: Any) -> None:
        trial = create_trial(
            state=attributes.pop("state", TrialState.COMPLETE),
            value=attributes.pop("value", val_loss),
            user_attrs={"label": label, "val_loss": val_loss} | attributes,
        )
        trial.number = len(self.trials)
        self.trials.append(trial)
        if probs is not None:
            self.paths.trial(trial.number).mkdir(parents=True)
            np.savez(self.paths.trial(trial.number) / "val_probs.npz", probs=probs, labels=LABELS)

    def chosen(self, top: int) -> list[int]:
        return [trial.number for trial in Finalists(self.paths, self.metric, top).of(self.trials)]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_net_that_is_less_sure_than_it_could_be_is_not_ranked_by_that(kept: Kept) -> None:
    smoothed, plain = outputs(sure=0.25, right=0.97), outputs(sure=1.0, right=0.9)
    kept.add("a", cross_entropy(LABELS, plain), plain)
    kept.add("b", cross_entropy(LABELS, smoothed), smoothed)
    assert kept.trials[1].user_attrs["val_loss"] > kept.trials[0].user_attrs["val_loss"]
    assert kept.chosen(2) == [1, 0]


def test_each_architecture_is_there_once_by_its_best_trial(kept: Kept) -> None:
    for label, loss in (("a", 0.3), ("a", 0.2), ("b", 0.25), ("a", 0.1), ("c", 0.4)):
        kept.add(label, loss)
    assert kept.chosen(3) == [3, 2, 4]
    assert kept.chosen(2) == [3, 2]
    assert kept.chosen(9) == [3, 2, 4]


def test_what_was_no_part_of_the_search_and_what_has_no_end_stays_out(kept: Kept) -> None:
    kept.add("a", 0.3)
    kept.add("b", 0.1, repeats={"trial": 0, "seed": 1})
    kept.add("c", 0.1, final={"of": 0, "fold": 1, "folds": 10, "seed": 0, "epochs": 2})
    kept.add("d", 0.1)
    kept.trials[3].value = float("nan")
    pruned = create_trial(state=TrialState.PRUNED, user_attrs={"label": "e", "val_loss": 0.1})
    pruned.number = 4
    kept.trials.append(pruned)
    assert kept.chosen(5) == [0]


def test_where_shifted_images_count_they_count_here_too(kept: Kept) -> None:
    probs = outputs(sure=1.0, right=0.9)
    plain = calibrated_loss(LABELS, np.log(probs))
    kept.add("a", plain, probs, value=2 * plain)
    kept.add("b", plain, probs, value=1.5 * plain)
    assert kept.chosen(2) == [1, 0]


@pytest.mark.parametrize(("metric", "order"), [("val_accuracy", [1, 2, 0]), ("val_calibrated_loss", [0, 2, 1])])
def test_by_another_metric_what_the_study_judged_them_by_counts(kept: Kept, metric: str, order: list[int]) -> None:
    kept.metric = metric
    probs = outputs(sure=1.0, right=0.9)
    for label, val_loss, value in (("a", 0.1, 0.95), ("b", 0.3, 0.98), ("c", 0.2, 0.97)):
        kept.add(label, val_loss, probs, value=value)
    assert kept.chosen(3) == order


def test_where_predictions_are_gone_or_damaged_the_plain_loss_counts(kept: Kept) -> None:
    kept.add("a", 0.001)
    kept.add("b", 0.5, outputs(sure=1.0, right=0.9))
    kept.add("c", 0.002, outputs(sure=1.0, right=0.9))
    (kept.paths.trial(2) / "val_probs.npz").write_bytes(b"damaged")
    assert kept.chosen(3) == [0, 2, 1]
