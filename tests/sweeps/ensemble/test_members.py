from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState, create_trial

from mnistnn.errors import CheckpointError
from sweeps.ensemble.members import Member, best_members, finished_trials, in_order, load_network
from sweeps.ensemble.predictions import load_val_probs
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from tests.sweeps.ensemble.conftest import Home


def _trial(loss: float | None, state: TrialState = TrialState.COMPLETE) -> Any:
    attrs = {"weights_sha256": "ab", "label": "dense"} | ({} if loss is None else {"val_loss": loss})
    return create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None, user_attrs=attrs)


def _best(trials: list[Any], top: int | None = None, default: int = 5) -> list[int]:
    paths = StudyPaths(Path("nowhere"))
    finished = finished_trials(dict(enumerate(trials)))
    return [member.number for member in best_members("s", finished, paths, top=top, default=default)]


def test_the_least_validation_loss_comes_first() -> None:
    trials = [_trial(0.5), _trial(0.2), _trial(0.3), _trial(0.2)]
    assert _best(trials) == [1, 3, 2, 0]
    assert _best(trials, top=2) == [1, 3]
    assert _best(trials, default=1) == [1]


def test_who_was_judged_by_images_of_its_own_is_ranked_by_its_network_first() -> None:
    def member(number: int, label: str, loss: float | None) -> Member:
        return Member(number, label, "ab", float("nan"), calibrated_loss=loss)

    # Of the small net one had an easy part; all together are worse, and so are most of them.
    members = [member(n, "small", loss) for n, loss in enumerate((0.010, 0.030, 0.029))]
    members += [member(n, "large", loss) for n, loss in enumerate((0.018, None, 0.016), start=3)]
    assert [each.number for each in in_order(members)] == [0, 5, 3, 2, 1, 4]
    assert [each.number for each in in_order(members, by_network=True)] == [5, 3, 4, 0, 2, 1]


def test_only_what_finished_with_a_loss_counts() -> None:
    trials = [
        _trial(0.1, TrialState.PRUNED),
        _trial(float("nan")),
        _trial(None),
        _trial(0.4),
        _trial(0.1, TrialState.FAIL),
    ]
    assert _best(trials) == [3]


@pytest.mark.parametrize(
    ("losses", "top", "message"),
    [
        ([], None, "needs a finished trial, but study 's' has none yet; `run s`"),
        ([], 3, "has none yet"),
        ([0.1], 2, "got 2 and study 's' has 1 finished trial; ask for 1"),
        ([0.1, 0.2], 7, "got 7 and study 's' has 2 finished trials; ask for 2"),
        ([0.1], 0, "`top >= 1` must hold, but got 0"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(losses: list[float], top: int | None, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        _best([_trial(loss) for loss in losses], top=top)
    assert "\n" not in str(caught.value)


def _member(home: Home) -> Member:
    finished = finished_trials({trial.number: trial for trial in home.study.trials})
    return best_members("smoke", finished, home.paths, top=1, default=5)[0]


def test_stored_predictions_are_those_of_the_stored_weights(home: Home, sample: Any) -> None:
    images, labels = sample.split(home.config.seed)[1].take()
    member = _member(home)
    probs = load_val_probs(member, home.paths, labels)
    np.testing.assert_allclose(load_network(member, home.paths).predict_proba(images), probs, atol=1e-6)


def _pickled(file: Path) -> None:
    np.savez(file, probs=np.array([{}], object), labels=np.zeros(1))


def _one_array(file: Path) -> None:
    with open(file, "wb") as opened:
        np.save(opened, np.zeros(3))


def _not_probs(file: Path) -> None:
    with np.load(file) as known:
        labels = known["labels"]
    np.savez(file, probs=np.full((len(labels), 10), np.nan, np.float32), labels=labels)


def _other_labels(file: Path) -> None:
    with np.load(file) as known:
        probs, labels = known["probs"], known["labels"]
    np.savez(file, probs=probs, labels=(labels + 1) % 10)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "is missing; `replay"),
        (lambda file: file.write_bytes(b""), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:500]), "is damaged"),
        (lambda file: np.savez(file, other=np.zeros(3)), "is damaged"),
        (_pickled, "is damaged"),
        (lambda file: np.savez_compressed(file, probs=np.zeros((10, 10)), labels=np.zeros(10)), "is damaged"),
        (_one_array, "is damaged"),
        (_not_probs, "must be 10 probabilities"),
        (_other_labels, "belongs to others"),
    ],
)
def test_predictions_that_cannot_be_trusted_are_refused(home: Home, sample: Any, damage: Any, message: str) -> None:
    member = _member(home)
    damage(home.paths.trial(member.number) / "val_probs.npz")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_val_probs(member, home.paths, sample.split(home.config.seed)[1].take()[1])
    assert "\n" not in str(caught.value)
    assert str(home.root) not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, r"weights.npz is not readable \(No such file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "must be those it ended with"),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "must be those it ended with"),
    ],
)
def test_weights_that_are_not_the_trials_own_are_refused(home: Home, damage: Any, message: str) -> None:
    member = _member(home)
    damage(home.paths.trial(member.number) / "weights.npz")
    with pytest.raises(CheckpointError, match=message):
        load_network(member, home.paths)
