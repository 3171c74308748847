from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.ensemble.evaluate import Interval
from sweeps.study.extend import extend
from sweeps.study.lookup import find_trial
from sweeps.study.repeat import queue_repeats
from sweeps.views.compare import compare
from sweeps.views.curves import curve_of, sparkline
from sweeps.views.report.trials import read_trials
from sweeps.views.study_view import StudyView
from sweeps.views.trial_status import trial_status
from sweeps.views.trials import source_of
from tests.sweeps.care.archives import make_small
from tests.sweeps.care.lab import Lab, PruneAfter, Tiny
from tests.sweeps.command import Home

CHANGES: dict[str, Any] = {"budget__epochs": 3, "budget__trials": 9}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Lab:
    """A study of two complete trials, a pruned one and one that waits. Not to be changed."""
    root, tiny = tmp_path_factory.mktemp("compared"), Tiny(sample)
    make_small(root, tiny, **CHANGES)
    lab = Lab(root, tiny, **CHANGES)
    for pruner in (None, None, PruneAfter()):
        lab.run(pruner=pruner)
    lab.study.enqueue_trial({"filters_1": 2})
    return lab


@pytest.fixture
def lab(begun: Lab, tmp_path: Path) -> Lab:
    shutil.copytree(begun.root, tmp_path / "lab")
    return Lab(tmp_path / "lab", begun.data, **CHANGES)


@pytest.fixture
def said(begun: Lab, sample_dir: Path) -> Home:
    return Home(begun.root, sample_dir)


def test_two_trials_side_by_side(said: Home, begun: Lab) -> None:
    out = said("compare", "small", 0, 1).out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    first, second = (find_trial(begun.study, number) for number in (0, 1))
    cells = {line.split("  ")[0]: line.split()[-2:] for line in reversed(lines) if line}  # the figures, not the curves
    assert cells["study small"] == ["#000", "#001"]
    assert cells["val loss"] == [f"{trial.user_attrs['val_loss']:.4f}" for trial in (first, second)]
    assert cells["val accuracy, %"] == [f"{100 * trial.user_attrs['val_accuracy']:.2f}" for trial in (first, second)]
    assert cells["MACs"] == [f"{trial.user_attrs['macs']:,}" for trial in (first, second)]
    assert cells["learning_rate"] == [f"{trial.params['adam.learning_rate']:.4g}" for trial in (first, second)]
    (same,) = (line for line in lines if line.startswith("the same ("))
    assert "blocks 1" in same
    assert "learning_rate" not in same
    for epoch in (1, 2, 3):
        (row,) = (line.split() for line in lines if line.split()[:1] == [str(epoch)])
        expected = []
        for name in ("val_loss", "val_accuracy"):
            for number in (0, 1):
                with open(begun.file("history.csv", number), newline="") as file:
                    expected.append(f"{float(list(csv.DictReader(file))[epoch - 1][name]):.4f}")
        assert row[1:] == expected
    assert sum(line.count("█") > 0 for line in lines) == 2


def test_the_same_as_json(said: Home, begun: Lab) -> None:
    found = said("compare", "small", 0, 1, "--json").json
    arrays = [dict(np.load(begun.file("val_probs.npz", number))) for number in (0, 1)]
    right = [each["probs"].argmax(axis=1) == each["labels"] for each in arrays]
    assert found["images"]["images"] == len(right[0]) == 100
    assert found["images"]["only_first"] == int(np.sum(right[0] & ~right[1]))
    assert found["images"]["only_second"] == int(np.sum(right[1] & ~right[0]))
    gap = [trial.user_attrs["val_accuracy"] for trial in begun.study.trials[:2]]
    assert found["images"]["accuracy"]["estimate"] == pytest.approx(gap[0] - gap[1])
    loss = [trial.user_attrs["val_loss"] for trial in begun.study.trials[:2]]
    assert found["images"]["loss"]["estimate"] == pytest.approx(loss[1] - loss[0], abs=1e-6)
    assert found["differing"]["learning_rate"] == [
        trial.params["adam.learning_rate"] for trial in begun.study.trials[:2]
    ]
    assert list(found["first"]["curves"]["val_loss"]) == ["1", "2", "3"]


def test_it_turns_round(begun: Lab) -> None:
    one, other = compare(begun.study, begun.paths, 0, 1), compare(begun.study, begun.paths, 1, 0)
    assert one.images is not None
    assert other.images is not None
    assert (one.first, one.second) == (other.second, other.first)
    assert one.images.p_value == other.images.p_value
    assert one.images.accuracy == turned(other.images.accuracy)


def turned(interval: Interval) -> Interval:
    return Interval(*(pytest.approx(-each) for each in (interval.estimate, interval.high, interval.low)))


def test_where_the_metric_is_a_calibrated_loss_the_verdict_goes_by_that(tmp_path: Path, sample: Dataset) -> None:
    changes = CHANGES | {"study__metric": "val_calibrated_loss"}
    tiny = Tiny(sample)
    make_small(tmp_path, tiny, **changes)
    lab = Lab(tmp_path, tiny, **changes)
    for _ in range(2):
        lab.run()
    found = compare(lab.study, lab.paths, 0, 1)
    assert found.images is not None
    first, second = (trial.user_attrs["val_calibrated_loss"] for trial in lab.study.trials)
    assert found.images.loss.estimate == pytest.approx(second - first, abs=1e-4)
    assert "Loss after a temperature of each" in found.verdict()[0]


def test_a_pruned_trial_has_curves_only_and_it_says_so(said: Home) -> None:
    out = said("compare", "small", 2, 0).out
    assert "pruned after epoch 2 of 3" in out
    words = " ".join(out.split())
    assert "cannot be said: #002 is PRUNED, and only complete trials have predictions; the curves are all" in words
    assert said("compare", "small", 0, 2, "--json").json["images"] is None


def test_one_that_waits_has_nothing_yet(begun: Lab) -> None:
    found = compare(begun.study, begun.paths, 3, 0)
    assert found.first.curves == {"val_loss": {}, "val_accuracy": {}}
    assert "#003 is WAITING" in str(found)
    assert "neither has a whole epoch" in str(
        type(found)(study="s", first=found.first, second=found.first, images=None, why_not="it waits", picked_from=2)
    )


@pytest.mark.parametrize(
    ("numbers", "message"), [((0, 9), "has 0 to 3 and no 9"), ((1, 1), "must be two, but got 1 twice")]
)
def test_trials_that_cannot_be_compared_are_refused(said: Home, numbers: tuple[int, int], message: str) -> None:
    answer = said("compare", "small", *numbers)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("harm", ["removed", "damaged", "others"])
def test_without_whole_predictions_of_the_same_images_there_is_no_test(lab: Lab, harm: str) -> None:
    path = lab.file("val_probs.npz", 1)
    if harm == "removed":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **arrays | {"labels": arrays["labels"][::-1]})
    for pair in ((0, 1), (1, 0)):
        found = compare(lab.study, lab.paths, *pair)
        assert found.images is None
        assert found.why_not
        assert "cannot be said" in str(found)


def test_nets_that_differ_and_nets_that_do_not(lab: Lab) -> None:
    path = lab.file("val_probs.npz", 1)
    with np.load(lab.file("val_probs.npz", 0)) as file:
        arrays = dict(file)
    np.savez(path, **arrays)
    found = compare(lab.study, lab.paths, 0, 1)
    assert found.images is not None
    assert (found.images.p_value, found.images.only_first) == (1.0, 0)
    assert "do not tell #000 and #001 apart" in " ".join(str(found).split())
    assert "ahead" not in str(found)
    np.savez(path, labels=arrays["labels"], probs=np.eye(10, dtype=np.float32)[arrays["labels"]])
    text = " ".join(str(compare(lab.study, lab.paths, 0, 1)).split())
    assert "#001 is more accurate than the other by more than chance would explain. In loss #001 is ahead" in text


def test_where_trials_come_from(lab: Lab) -> None:
    extend(lab.study, lab.paths, 0, 5, budget=lab.config)
    queue_repeats(lab.study, lab.paths, [1], 2)
    lab.study.enqueue_trial({}, user_attrs={"asked": True})
    lab.study.enqueue_trial({}, user_attrs={"imported": {"study": "old", "trial": 7, "seed": 1, "origin": 7}})
    known = {number: source_of(find_trial(lab.study, number)) for number in (0, 4, 5, 6, 7, 8)}
    assert known == {
        0: "",
        4: "goes on with #000, +2 epochs",
        5: "repeats #001, seed 1",
        6: "repeats #001, seed 2",
        7: "asked for",
        8: "fork of old #007",
    }
    # The same words wherever it is said.
    facts = read_trials(lab.study.trials, lab.config)
    assert {trial.number: trial.role for trial in facts if trial.number in known} == known
    waiting = StudyView(lab.study, lab.paths).look().queue
    queue = {each.number: each.origin for each in waiting if each.number in known}
    assert queue == {number: known[number] for number in (4, 5, 6, 7, 8)}
    assert all(trial_status(lab.study, lab.paths, number).origin == said for number, said in known.items() if said)
    from sweeps.views.trials import render, trials_frame

    table = render(trials_frame(lab.study)).splitlines()
    assert table[0].endswith("from")
    assert sum(line.endswith("repeats #001, seed 2") for line in table) == 1


def test_a_repeat_has_the_same_values(lab: Lab) -> None:
    (number,) = queue_repeats(lab.study, lab.paths, [0], 1)
    lab.study._storage.set_trial_state_values(lab.study.trials[3]._trial_id, TrialState.FAIL)
    assert lab.run() == TrialState.COMPLETE
    found = compare(lab.study, lab.paths, 0, number)
    assert found.differing == {}
    assert "they have the same values, so their seeds alone make the difference" in " ".join(str(found).split())
    assert "repeats #000, seed 1" in str(found)


# Curves.


def test_a_running_trial_has_the_curve_that_it_reported(tmp_path: Path) -> None:
    study = optuna.create_study()
    trial = study.ask()
    for epoch in (1, 2):
        trial.report(1.0 / epoch, epoch)
    expected = {"val_loss": {1: 1.0, 2: 0.5}, "val_accuracy": {}}
    assert curve_of(study.trials[0], tmp_path, "val_loss") == expected
    (tmp_path / "history.csv").write_bytes(b"epoch,val_loss\n\xff,1")
    assert curve_of(study.trials[0], tmp_path, "val_loss") == expected


def test_a_line_of_bars() -> None:
    curve = {1: 1.0, 2: 0.5, 3: 0.0, 5: float("nan")}
    assert sparkline(curve, [1, 2, 3], 0.0, 1.0, 9) == "█▅▁"
    assert sparkline(curve, [1, 2, 3, 4, 5], 0.0, 1.0, 9) == "█▅▁"
    assert sparkline(curve, [1, 3], 0.5, 0.5, 9) == "▁▁"


@given(st.dictionaries(st.integers(1, 1000), st.floats(0, 10), min_size=1, max_size=200), st.integers(1, 60))
def test_a_line_of_bars_is_as_long_as_it_may_be(curve: dict[int, float], width: int) -> None:
    epochs = sorted(curve)
    line = sparkline(curve, epochs, min(curve.values()), max(curve.values()), width)
    assert len(line) == min(width, len(epochs))


def test_of_many_epochs_some_are_shown(begun: Lab) -> None:
    found = compare(begun.study, begun.paths, 0, 1)
    long = {epoch: 1.0 / epoch for epoch in range(1, 201)}
    for side in found.sides:
        side.curves["val_loss"] = long
    lines = [line for line in str(found).splitlines() if line[:5].strip().isdigit()]
    assert len(lines) == 15
    assert [int(line[:5]) for line in (lines[0], lines[-1])] == [1, 200]
    assert max(map(len, str(found).splitlines())) <= 80


def test_json_is_json(said: Home) -> None:
    assert json.loads(said("compare", "small", 3, 2, "--json").out)["first"]["state"] == "WAITING"
