from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.checkpoint import load_model, read_header
from mnistnn.data import Dataset
from mnistnn.network import Network, child_seed
from mnistnn.training import evaluate
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.replay import replay_trial
from sweeps.errors import ConfigError, StudyError
from sweeps.study.arms import arm_trials, check_arms
from sweeps.study.bench import build_trainer
from sweeps.study.budget import Budget, Tally
from sweeps.study.extend import extend
from sweeps.study.fork import fork
from sweeps.study.lineage import seed_of, trial_seed
from sweeps.study.lookup import find_trial, values_of
from sweeps.study.recovery import recover
from sweeps.study.repeat import queue_repeats
from sweeps.study.space import Space
from sweeps.study.storage import load_study, open_storage, open_study
from tests.sweeps.arms import ArmsLab, arms_config
from tests.sweeps.care.lab import Tiny

NAMES = ["conv", "dropout", "sgd", "sigmoid"]


@pytest.fixture(scope="module")
def tiny(sample: Dataset) -> Any:
    return Tiny(sample)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> ArmsLab:
    """The study with all of its trials. Not to be changed."""
    lab = ArmsLab(tmp_path_factory.mktemp("done"), tiny)
    lab.run_all()
    return lab


@pytest.fixture
def lab(done: ArmsLab, tmp_path: Path, tiny: Any) -> ArmsLab:
    shutil.copytree(done.root, tmp_path / "lab")
    return ArmsLab(tmp_path / "lab", tiny)


def again(lab: ArmsLab, **arms: Any) -> optuna.Study:
    return open_study(arms_config(**arms), open_storage(None, lab.paths), lab.data.digest)


# What is queued.


def test_every_arm_is_queued_by_every_seed_and_nothing_else(done: ArmsLab) -> None:
    known = [trial.user_attrs["arm"] for trial in done.study.trials]
    assert known == [{"name": name, "seed": seed} for seed in (1, 2) for name in NAMES]
    assert {trial.state for trial in done.study.trials} == {TrialState.COMPLETE}
    tally = Tally.of(done.study.trials)
    budget = Budget(queued_only=done.config.is_queued)
    assert budget.is_spent(tally)
    assert (budget.share(tally, 0.0), budget.total(tally)) == (1.0, 8)


def test_a_share_of_a_queue_is_what_has_ended_of_it() -> None:
    budget = Budget(queued_only=True)
    assert budget.share(Tally(complete=3, pruned=1, waiting=3, running=1), 0.0) == 0.5
    assert budget.share(Tally(), 0.0) == 0.0


def test_more_arms_and_more_seeds_are_queued_later(lab: ArmsLab) -> None:
    study = again(lab, seeds=3, more={"dropout": 0.1})
    added = [trial.user_attrs["arm"] for trial in study.trials[8:]]
    assert added == [
        {"name": "more", "seed": 1},
        {"name": "more", "seed": 2},
        *({"name": name, "seed": 3} for name in [*NAMES, "more"]),
    ]
    assert len(again(lab, seeds=3, more={"dropout": 0.1}).trials) == len(study.trials)


def test_what_failed_for_good_is_queued_once_more_by_the_next_run(tmp_path: Path, tiny: Any) -> None:
    lab = ArmsLab(tmp_path, tiny)
    lost = lab.study.ask()
    lab.study.tell(lost, state=TrialState.FAIL)
    for _ in range(2):  # a second call finds it in the queue
        study = again(lab)
        assert len(study.trials) == 9
        anew = study.trials[8]
        assert (anew.user_attrs["arm"], anew.state) == ({"name": "conv", "seed": 1}, TrialState.WAITING)
    assert seed_of(anew, 3) == seed_of(study.trials[0], 3)  # it is the same training
    lab.run_all()
    assert arm_trials(lab.study)["conv", 1].number == 8
    assert len(again(lab).trials) == 9
    assert Tally.of(lab.study.trials).failed == 1


def test_an_arm_that_has_trials_stays_as_it_is(lab: ArmsLab) -> None:
    with pytest.raises(StudyError, match="arm 'dropout' of study 'small' must stay as it was begun, with dropout=0.3"):
        again(lab, dropout={"dropout": 0.4})
    assert len(again(lab, sgd=None).trials) == 8  # one that is not asked for any more is no change


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"dense_dropout": 0.2}, "'x' trains the same as 'conv'"),  # there is no dense layer
        ({"filters": 512, "kernel": 7, "convs": 3}, "'x' is not \\(macs: "),
        ({"blocks": 3, "kernel": 7, "padding": "valid"}, "'x' is not \\(shape: "),
    ],
)
def test_an_arm_that_cannot_be_or_is_of_no_use_is_refused(arm: dict[str, Any], message: str) -> None:
    config = arms_config(x=arm)
    with pytest.raises(ConfigError, match=message) as error:
        check_arms(config, Space(config))
    assert "\n" not in str(error.value)


# Its randomness.


def trainer_of(lab: ArmsLab, number: int) -> Any:
    space, trial = Space(lab.config), find_trial(lab.study, number)
    recipe = space.recipe(values_of(trial, space))
    train, validation = lab.data.split(lab.config.seed)
    return build_trainer(recipe, trial_seed(*seed_of(trial, lab.config.seed)), train, validation)


def test_the_same_seed_of_two_arms_begins_alike_and_sees_the_same(done: ArmsLab) -> None:
    conv, dropout, sgd, sigmoid, other = (trainer_of(done, number) for number in (0, 1, 2, 3, 4))
    for name in ("conv2d_1/weight", "dense_1/weight"):
        first = conv.network.arena.named()[name].value
        for arm, is_same in ((dropout, True), (sgd, True), (other, False)):
            second = arm.network.arena.named()[name].value
            assert np.array_equal(first, second) is is_same, name
    orders = [
        np.concatenate([labels.copy() for _, labels in each.batches.epoch(each.rngs["shuffle"])])
        for each in (conv, dropout, sgd, sigmoid, other)
    ]
    assert all(np.array_equal(orders[0], order) for order in orders[1:4])
    assert not np.array_equal(orders[0], orders[4])
    draws = [each.rngs["augment"].random(5).tolist() for each in (conv, sigmoid, other)]
    assert draws[0] == draws[1] != draws[2]


def test_it_comes_out_again_and_so_do_its_repeats_and_extensions(lab: ArmsLab) -> None:
    queue_repeats(lab.study, lab.paths, [1], 2)
    assert extend(lab.study, lab.paths, 1, 3, budget=lab.config).trial == 10
    (lab.file("final.npz", 1)).unlink()  # so it is trained again from its seed
    lab.run_all()
    for number in (1, 7, 8, 10):
        found = lab.replay(number)
        assert (found.is_same, found.remarks) == (True, ()), found.text()
    header = read_header(lab.file("weights.npz", 1))["extra"]
    assert header["arm"] == {"name": "dropout", "seed": 1}
    (start,) = lab.events("start", 1)
    assert (start["tags"]["arm"], start["tags"]["arm_seed"]) == ("dropout", "1")
    assert "arm dropout, by its seed 1" in start["note"]
    assert arm_trials(lab.study)["dropout", 1].number == 1


def test_a_death_before_its_first_step_loses_no_trial_of_an_arm(tmp_path: Path, tiny: Any) -> None:
    lab = ArmsLab(tmp_path, tiny)
    trial = lab.study.ask()
    assert trial.number == 0
    assert recover(lab.study, lab.paths) == [0]
    assert find_trial(lab.study, 0).user_attrs["arm"] == {"name": "conv", "seed": 1}
    lab.run_all()
    assert len(arm_trials(lab.study)) == 8
    assert lab.replay(0).is_same


def test_a_fork_keeps_the_arms_that_are_the_same(lab: ArmsLab) -> None:
    made = fork(lab.config, "new", root=lab.root, overrides=["arms.dropout.dropout=0.4"])
    assert (made.complete, made.left_out, made.waiting) == (6, {"of an arm that is not so in it": 2}, 2)
    paths = type(lab.paths)(lab.root / "studies" / "new")
    new = load_study("new", None, paths)
    assert set(arm_trials(new)) == {(name, seed) for name in NAMES for seed in (1, 2)}
    number = arm_trials(new)["sgd", 2].number
    assert seed_of(new.trials[number], 99) == seed_of(lab.study.trials[6], 3)
    assert replay_trial("new", number, root=lab.root, dataset=lab.data, progress=False).is_same


def test_an_archive_keeps_its_arm(done: ArmsLab) -> None:
    snapshot = Snapshot.parse(Snapshot.of(done.study).journal())
    assert [trial.user_attrs for trial in snapshot.trials] == [trial.user_attrs for trial in done.study.trials]


# What is measured of it besides.


def test_its_end_is_measured_without_dropout_and_with_the_last_weights(done: ArmsLab) -> None:
    known = find_trial(done.study, 1).user_attrs
    trainer = trainer_of(done, 1)
    *_, metrics = trainer.fit()
    train, validation = done.data.split(done.config.seed)
    images, labels = train.take()
    rows = np.linspace(0, len(train) - 1, len(validation)).astype(int)
    loss, accuracy = evaluate(trainer.network, images[rows], labels[rows])
    assert known["last_train_loss"] == pytest.approx(loss)
    assert known["last_train_accuracy"] == pytest.approx(accuracy)
    assert known["last_val_loss"] == metrics.val_loss
    assert "start_saturated" not in known


def test_its_beginning_is_measured_on_its_own_first_weights(done: ArmsLab) -> None:
    trial = find_trial(done.study, 3)
    trainer = trainer_of(done, 3)
    weight = trainer.network.layers["dense_1"].weight.value
    train, _ = done.data.split(done.config.seed)
    inputs = train.take()[0][:100].reshape(-1, 784).astype(np.float64) / 255 @ weight
    assert trial.user_attrs["start_largest"] == pytest.approx(np.abs(inputs).max(), rel=1e-4)
    assert trial.user_attrs["start_saturated"] == pytest.approx(np.mean(np.abs(inputs) > 5.9864), abs=1e-9)
    assert trial.user_attrs["start_overflow"] == 0.0
    (end,) = done.events("end", 3)
    assert math.isfinite(end["metrics"]["last_train_loss"])
    (start,) = done.events("start", 3)
    assert start["metrics"]["start_largest"] == trial.user_attrs["start_largest"]


def test_its_network_is_that_of_its_first_weights_by_name(done: ArmsLab) -> None:
    space, trial = Space(done.config), find_trial(done.study, 0)
    recipe = space.recipe(values_of(trial, space))
    seed = child_seed(trial_seed(*seed_of(trial, done.config.seed)), 0)
    plain, named = (Network(recipe.network, seed=seed, by_name=by_name) for by_name in (False, True))
    assert not np.array_equal(plain.arena.params, named.arena.params)
    assert np.array_equal(named.arena.params, trainer_of(done, 0).network.arena.params)
    assert load_model(done.file("weights.npz", 0)).param_count == named.param_count
