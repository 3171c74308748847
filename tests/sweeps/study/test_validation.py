"""The key `study.validation_shift`: trials that are judged on shifted images too; or by a loss after a temperature."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.checkpoint import load_model
from mnistnn.data import Dataset, Split
from mnistnn.metrics import calibrated_loss
from mnistnn.training import evaluate
from sweeps.care.doctor.records import end_metrics
from sweeps.errors import ConfigError
from sweeps.study.fork import fork
from sweeps.study.validation import reported, shifted_images
from sweeps.views.pictures.facts import gather
from sweeps.views.progress import figures
from sweeps.views.report.gather import gather_facts
from sweeps.views.report.page import render as render_page
from sweeps.views.report.trials import read_trials
from sweeps.views.trials import render, trials_frame
from tests.sweeps.care.lab import Lab, PruneAfter, Tiny
from tests.sweeps.small import small_config

SHIFTED = ("shifted_val_loss", "shifted_val_accuracy")


@pytest.fixture(scope="module")
def tiny(sample: Dataset) -> Tiny:
    return Tiny(sample)


def validation(images: int = 1500) -> Split:
    """Images of one bright pixel in the middle."""
    drawn = np.zeros((images, 28, 28), np.uint8)
    drawn[:, 14, 14] = 255
    return Split(drawn, np.zeros(images, np.uint8), np.arange(images)[::-1])


def test_each_image_is_moved_by_a_draw_of_its_own_that_the_seed_decides() -> None:
    found = shifted_images(validation(), 3, 7)
    assert found is not None
    assert found.shape == (1500, 28, 28)
    _, rows, columns = np.nonzero(found)
    assert len(rows) == 1500
    assert {*rows} == {*columns} == set(range(11, 18))
    assert len({*zip(rows.tolist(), columns.tolist(), strict=True)}) == 49
    np.testing.assert_array_equal(found, shifted_images(validation(), 3, 7))
    assert not np.array_equal(found, shifted_images(validation(), 3, 8))
    assert shifted_images(validation(), 0, 7) is None


def test_it_may_not_change_once_there_are_trials_and_is_nothing_where_it_is_0() -> None:
    plain, shifted = small_config(), small_config(study__validation_shift=2)
    assert small_config(study__validation_shift=0).space_hash == plain.space_hash != shifted.space_hash
    before = plain.to_dict()
    del before["study"]["validation_shift"]  # of a study from before there was one
    assert plain.space_difference(before) == []
    assert shifted.space_difference(before) == ["study.validation_shift: not there → 2"]
    assert plain.space_difference(shifted.to_dict()) == ["study.validation_shift: 2 → not there"]
    assert (reported(plain), reported(shifted)) == ("val_loss", "objective")
    for value in (-1, 9, 1.5, True):
        with pytest.raises(ConfigError, match="validation_shift"):
            small_config(study__validation_shift=value)


@pytest.mark.parametrize("metric", ["val_loss", "val_accuracy", "val_calibrated_loss"])
def test_a_trial_is_judged_by_the_mean_and_records_both(tmp_path: Path, tiny: Tiny, metric: str) -> None:
    lab = Lab(tmp_path, tiny, study__validation_shift=3, study__metric=metric)
    assert lab.run() == TrialState.COMPLETE
    trial = lab.study.trials[0]
    best = max if metric == "val_accuracy" else min
    known = trial.user_attrs
    assert trial.value == known["objective"] == best(trial.intermediate_values.values())
    assert trial.value == (known[metric] + known[f"shifted_{metric}"]) / 2
    _, split = tiny.split(lab.config.seed)
    images = shifted_images(split, 3, lab.config.seed)
    assert images is not None
    network = load_model(lab.file("weights.npz"))
    assert evaluate(network, images, split.take()[1]) == pytest.approx([known[name] for name in SHIFTED], rel=1e-5)
    rows = list(csv.DictReader(lab.file("history.csv").read_text().splitlines()))
    epochs = lab.events("epoch")
    for number, (row, event) in enumerate(zip(rows, epochs, strict=True), 1):
        both = [float(row[name]) for name in (metric, f"shifted_{metric}")]
        assert both == [event["metrics"][name] for name in (metric, f"shifted_{metric}")]
        assert trial.intermediate_values[number] == sum(both) / 2
    (end,) = lab.events("end")
    assert end["metrics"]["best_objective"] == trial.value
    assert {name: end["metrics"][name] for name in end_metrics(trial)} == end_metrics(trial)


def test_a_trial_of_another_study_knows_nothing_of_it(tmp_path: Path, tiny: Tiny) -> None:
    lab = Lab(tmp_path, tiny)
    lab.run()
    assert not {"objective", *SHIFTED} & lab.study.trials[0].user_attrs.keys()
    assert "shifted" not in lab.file("history.csv").read_text()
    assert "shifted" not in lab.file("events.jsonl").read_text()
    assert "objective" not in trials_frame(lab.study)


def test_what_is_shown_of_trials_goes_by_the_mean(tmp_path: Path, tiny: Tiny) -> None:
    lab = Lab(tmp_path, tiny, study__validation_shift=3)
    lab.run()
    assert lab.run(pruner=PruneAfter()) == TrialState.PRUNED
    frame = trials_frame(lab.study)
    assert frame["objective"].tolist()[0] == lab.study.trials[0].value
    assert "objective" in render(frame).splitlines()[0]
    complete, pruned = gather(lab.study).trials
    assert complete.value == lab.study.trials[0].value
    assert pruned.value == min(lab.study.trials[1].intermediate_values.values())


def test_the_pruner_sees_the_mean(tmp_path: Path, tiny: Tiny) -> None:
    seen: list[float] = []

    class Spy(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            seen.append(trial.intermediate_values[trial.last_step or 0])
            return False

    lab = Lab(tmp_path, tiny, study__validation_shift=3)
    lab.run(pruner=Spy())
    epochs = [event["metrics"] for event in lab.events("epoch")]
    means = [(epoch["val_loss"] + epoch["shifted_val_loss"]) / 2 for epoch in epochs]
    assert seen == means[:-1]  # at the end there is nothing to prune


def test_it_is_replayed_to_the_same_curve_and_weights(tmp_path: Path, tiny: Tiny) -> None:
    norm = {"blocks": 1, "kernel": 3, "batch_size": 50, "norm": "batch_norm", "ema": 0.9}
    lab = Lab(tmp_path, tiny, study__validation_shift=2, fixed=norm)
    lab.run()
    found = lab.replay()
    assert (found.exit_code, found.same_state, found.difference) == (0, True, None)
    lab.edit(lambda event: event["metrics"].update(shifted_val_loss=0.5), "epoch")
    difference = lab.replay().difference
    assert difference is not None
    assert difference.name == "shifted_val_loss"
    lab.file("events.jsonl").unlink()
    lab.file("history.csv").unlink()
    assert lab.replay().is_same  # what the storage knows is the mean


def test_a_loss_after_a_temperature_is_an_objective_of_its_own(tmp_path: Path, tiny: Tiny) -> None:
    lab = Lab(tmp_path, tiny, study__metric="val_calibrated_loss", fixed={"blocks": 1, "kernel": 3, "batch_size": 50})
    assert lab.run() == TrialState.COMPLETE
    trial = lab.study.trials[0]
    arrays = np.load(lab.file("val_probs.npz"))
    expected = calibrated_loss(arrays["labels"], np.log(arrays["probs"].astype(np.float64)))
    assert trial.value == pytest.approx(expected, rel=1e-4)
    assert trial.value == trial.user_attrs["objective"] == trial.user_attrs["val_calibrated_loss"]
    assert trial.value < trial.user_attrs["val_loss"]
    (end,) = lab.events("end")
    assert {name: end["metrics"][name] for name in end_metrics(trial)} == end_metrics(trial)
    assert end["metrics"]["best_val_calibrated_loss"] == trial.value
    assert trials_frame(lab.study)["objective"].tolist() == [trial.value]
    assert figures(trial) == f"cal loss {trial.value:.4f}, {100 * trial.user_attrs['val_accuracy']:.2f} %"
    assert gather(lab.study).metric_label == "calibrated validation loss"
    page = render_page(gather_facts(lab.study, lab.paths, tmp_path))
    assert "calibrated validation loss" in page
    assert "moved by up to" not in page
    assert lab.replay().is_same


def test_a_study_that_judges_otherwise_takes_no_trials_over(tmp_path: Path, tiny: Any) -> None:
    lab = Lab(tmp_path, tiny)
    lab.run()
    forked = fork(lab.config, "other", root=tmp_path, overrides=["study.validation_shift=2"])
    assert "of another validation_shift (0)" in str(forked)


def test_the_report_and_the_picture_say_what_it_is_judged_by(tmp_path: Path, tiny: Tiny) -> None:
    lab = Lab(tmp_path, tiny, study__validation_shift=3)
    lab.run()
    lab.run()
    attempts = lab.study.get_trials(deepcopy=False)
    ranked = sorted(attempts, key=lambda trial: trial.value or 0.0)
    assert [trial.number for trial in read_trials(attempts, lab.config)] == [trial.number for trial in ranked]
    assert read_trials(attempts, lab.config)[0].objective == ranked[0].value
    assert gather(lab.study).metric_label == "validation loss, plain and shifted"
    page = render_page(gather_facts(lab.study, lab.paths, tmp_path))
    assert "moved by up to 3 pixels" in page
