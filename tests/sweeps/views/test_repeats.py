from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from sweeps.ensemble.difference import holm, mean_difference, mean_interval
from sweeps.views.repeats import compare_repeats
from tests.sweeps.small import small_config


def study_of(losses: Mapping[float, Sequence[float | None]], metric: str = "val_loss") -> optuna.Study:
    """Returns a study with originals and repeats of these losses; a repeat without one diverged.

    Accuracy is what is left of 1.
    """
    config = small_config(study__metric=metric)
    study = optuna.create_study(study_name="small", direction=config.direction)
    study.set_user_attr("config", config.to_dict())
    study.set_user_attr("enqueued", True)

    def add(loss: float | None, **attributes: Any) -> None:
        known = {} if loss is None else {"val_loss": loss, "val_accuracy": 1 - loss}
        if loss is not None and metric == "val_calibrated_loss":
            known = {"val_loss": 1 - loss, "val_accuracy": 1 - loss, metric: loss}
        state = TrialState.PRUNED if loss is None else TrialState.COMPLETE
        value = None if loss is None else known[metric]
        study.add_trial(create_trial(state=state, value=value, user_attrs={"label": "conv 8"} | known | attributes))

    for original in losses:
        add(original)
    for number, repeats in enumerate(losses.values()):
        for seed, loss in enumerate(repeats, 1):
            add(loss, repeats={"trial": number, "seed": seed})
    return study


ALIKE = {0.10: [0.11, 0.13, 0.12, 0.14, 0.12], 0.12: [0.12, 0.14, 0.11, 0.13, 0.13]}
APART = ALIKE | {0.20: [0.20, 0.21, 0.22, 0.21, 0.20]}


def test_means_and_optimism_without_the_original() -> None:
    found = compare_repeats(study_of(ALIKE), [0, 1], 5)
    group = found.groups[0]
    assert (group.trial, group.missing, group.diverged) == (0, 0, 0)
    assert group.trials == {1: 2, 2: 3, 3: 4, 4: 5, 5: 6}
    assert group.means["val_loss"] == mean_interval(ALIKE[0.10])
    assert group.optimism("val_loss") == pytest.approx(0.10 - 0.124)
    assert group.optimism("val_accuracy") == pytest.approx(0.024)
    text = " ".join(str(found).split())
    assert "#000 and #001 cannot be told apart by 5 seeds." in text
    assert "The 2 originals' val loss lies on average 0.0150 below the mean of their repeats, as that of picked" in text


def test_pairs_with_holms_correction() -> None:
    found = compare_repeats(study_of(APART), [2, 1, 0], 5)
    assert [group.trial for group in found.groups] == [0, 1, 2]  # the best first
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 1), (0, 2), (1, 2)]
    values = list(APART.values())
    plain = [mean_difference(values[a], values[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert [pair.contrasts["val_loss"] for pair in found.pairs] == plain
    assert [pair.p_values["val_loss"] for pair in found.pairs] == holm([each.p_value for each in plain])
    assert [pair.differs("val_loss") for pair in found.pairs] == [False, True, True]
    text = " ".join(str(found).split())
    assert "These really differ in val loss (p < 0.05 after Holm's correction for 3 pairs): #000 and #002, #001" in text
    assert "#000 and #001 cannot be told apart by 5 seeds." in text
    assert max(map(len, str(found).splitlines())) <= 80
    plain_values = json.loads(json.dumps(found.to_dict()))
    assert [each["differs"]["val_loss"] for each in plain_values["pairs"]] == [False, True, True]
    assert plain_values["groups"][0]["optimism"]["val_loss"] == pytest.approx(-0.024)


def test_by_accuracy_the_highest_is_first_and_optimism_lies_above() -> None:
    found = compare_repeats(study_of(APART, "val_accuracy"), [2, 1, 0], 5)
    assert [group.trial for group in found.groups] == [0, 1, 2]
    text = " ".join(str(found).split())
    assert "The 3 originals' val accuracy lies on average 1.27 points above the mean of their repeats, as that" in text


def test_by_the_loss_after_a_temperature_that_is_what_is_compared() -> None:
    found = compare_repeats(study_of(APART, "val_calibrated_loss"), [2, 1, 0], 5)
    assert [group.trial for group in found.groups] == [0, 1, 2]
    assert max(map(len, str(found).splitlines())) <= 80
    text = " ".join(str(found).split())
    assert "calibrated loss lies on average 0.0127 below the mean of their repeats, as that of picked" in text
    assert "val loss" not in text


def test_what_diverged_or_is_missing_is_said_and_one_repeat_has_no_interval() -> None:
    study = study_of({0.10: [0.11, 0.12, None], 0.20: [0.21]})
    found = compare_repeats(study, [0, 1], 4)
    assert [(group.diverged, group.missing) for group in found.groups] == [(1, 1), (0, 3)]
    assert found.groups[1].means == {}
    assert found.pairs == []
    text = str(found)
    assert "2 + 1 diverged" in text
    assert "4 repeats have not ended; the same command goes on with them." in text
    assert compare_repeats(study, [1], 4).to_dict()["groups"][0]["optimism"] == {}
    assert "told apart" not in str(compare_repeats(study, [1], 4))


def test_repeats_by_more_seeds_than_asked_for_are_left_out() -> None:
    found = compare_repeats(study_of(ALIKE), [0, 1], 3)
    assert found.groups[0].values["val_loss"] == pytest.approx([0.11, 0.13, 0.12])


def test_the_picked_flatter_themselves_and_the_repeats_say_so() -> None:
    """Of a hundred equal nets the five best, which no repeat tells apart: the winner's curse as it is."""
    rng = np.random.default_rng(0)
    best = sorted(rng.normal(0.1, 0.01, 100))[:5]
    losses = {float(loss): [float(each) for each in rng.normal(0.1, 0.01, 5)] for loss in best}
    found = compare_repeats(study_of(losses), list(range(5)), 5)
    assert not any(pair.differs("val_loss") for pair in found.pairs)
    assert "as that of picked trials tends to" in " ".join(str(found).split())
    assert max(map(len, str(found).splitlines())) <= 80
