from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.trial import TrialState

from mnistnn.checkpoint import load_model, read_header
from mnistnn.data import Dataset, Split
from mnistnn.files import sha256_file
from sweeps.config import StudyConfig
from sweeps.errors import ConfigError, StudyError
from sweeps.study.bench import build_trainer
from sweeps.study.budget import Tally
from sweeps.study.extend import Extended, extend
from sweeps.study.forecast import Forecast
from sweeps.study.lineage import stages_of, train_stages, trial_seed
from sweeps.study.lookup import find_trial, values_of
from sweeps.study.recovery import recover
from sweeps.study.space import Space
from sweeps.study.storage import load_study, origin_of
from tests.sweeps.small import Killed, make_bench, make_study, paths_of, run_next, small_config, stop_after

EPOCHS = 2  # of a trial of the study

Weights = NDArray[np.floating[Any]]


class Life:
    """A study of one ended trial, on a data set of which an epoch takes milliseconds."""

    def __init__(self, config: StudyConfig, root: Path, sample: Dataset) -> None:
        self.config, self.root, self.sample = config, root, sample
        self.study, self.paths = make_study(config, root, sample), paths_of(config, root)
        train, validation = sample.split(config.seed)
        self.train = Split(train.images, train.labels, train.indices[:200])
        self.validation = Split(validation.images, validation.labels, validation.indices[:100])
        self.said: list[str] = []

    def run(self, stop: Callable[[], bool] = lambda: False) -> TrialState | None:
        bench = make_bench(
            self.config,
            self.root,
            self.sample,
            stop=stop,
            train=self.train,
            validation=self.validation,
            say=self.said.append,
        )
        return run_next(self.study, bench)

    def extend(self, number: int, epochs: int) -> Extended:
        return extend(self.study, self.paths, number, epochs, budget=self.config)

    def extended(self, number: int, epochs: int) -> int:
        """Extends a trial, runs what waits, and returns the new one's number."""
        made = self.extend(number, epochs).trial
        assert self.run() == TrialState.COMPLETE
        return made

    def weights(self, number: int) -> Weights:
        return load_model(self.paths.trial(number) / "weights.npz").arena.params.copy()

    def trial(self, number: int) -> optuna.trial.FrozenTrial:
        return find_trial(self.study, number)

    def replayed(self, number: int) -> Weights:
        """Trains a trial from its record alone."""
        trial, space = self.trial(number), Space(self.config)
        stages = stages_of(trial, EPOCHS)
        extends = trial.user_attrs["extends"]
        recipe = space.recipe(values_of(trial, space), stages[-1].plan)
        seed = trial_seed(extends["seed"], extends["origin"])
        trainer = build_trainer(recipe, seed, self.train, self.validation)
        list(train_stages(trainer, stages))
        trainer.restore_best()
        return trainer.network.arena.params.copy()


@pytest.fixture
def life(tmp_path: Path, sample: Dataset) -> Life:
    # What is drawn while training shows whether the random streams go on.
    config = small_config(budget={"trials": 1, "epochs": EPOCHS}, fixed__schedule="cosine", search__dropout=0.2)
    made = Life(config, tmp_path, sample)
    assert made.run() == TrialState.COMPLETE
    return made


def test_it_goes_on_where_the_other_ended(life: Life) -> None:
    before = {path.name: sha256_file(path) for path in life.paths.trial(0).iterdir()}
    said = life.extend(0, 5)
    assert (said.trial, said.base, said.done, said.epochs, said.again) == (1, 0, EPOCHS, 5, None)
    waiting = life.trial(1)
    assert waiting.params == life.trial(0).params
    assert waiting.intermediate_values == life.trial(0).intermediate_values
    assert waiting.user_attrs["asked"] is True
    assert life.run() == TrialState.COMPLETE
    old, new = life.trial(0), life.trial(1)
    assert new.user_attrs["extends"] == {
        "trial": 0,
        "epochs": [2],
        "plans": [2],
        "total": 5,
        "seed": life.config.seed,
        "origin": 0,
    }
    assert set(new.intermediate_values) == {1, 2, 3, 4, 5}
    assert all(new.intermediate_values[epoch] == value for epoch, value in old.intermediate_values.items())
    assert new.user_attrs["epochs_run"] == 5
    header = read_header(life.paths.trial(1) / "final.npz")
    first = read_header(life.paths.trial(0) / "final.npz")
    assert header["epoch"] == header["training"]["epochs"] == 5
    assert header["history"][:2] == first["history"]  # their seconds included: they were not trained again
    np.testing.assert_array_equal(life.weights(1), life.replayed(1))
    assert before == {path.name: sha256_file(path) for path in life.paths.trial(0).iterdir()}
    assert Tally.of(life.study.trials).finished == 1  # it does not count
    assert not life.said


def test_the_schedule_is_that_of_the_longer_training_from_there_on(life: Life) -> None:
    number = life.extended(0, 5)
    rates = [epoch["learning_rate"] for epoch in read_header(life.paths.trial(number) / "final.npz")["history"]]
    peak, steps = life.trial(0).params["adam.learning_rate"], 2  # 200 images in batches of 100

    def rate(epoch: int, epochs: int) -> float:
        return float(peak / 2 * (1 + np.cos(np.pi * (epoch * steps - 1) / (epochs * steps))))

    expected = [rate(1, 2), rate(2, 2), rate(3, 5), rate(4, 5), rate(5, 5)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("harm", ["removed", "damaged", "another"])
def test_without_its_last_state_the_first_epochs_are_trained_again(life: Life, harm: str) -> None:
    expected = life.weights(life.extended(0, 4))
    final = life.paths.trial(0) / "final.npz"
    if harm == "removed":
        final.unlink()
    elif harm == "damaged":
        data = bytearray(final.read_bytes())
        data[len(data) // 2] ^= 1
        final.write_bytes(bytes(data))
    else:
        final.write_bytes((life.paths.trial(1) / "final.npz").read_bytes())
    said = life.extend(0, 4)
    assert said.again is not None
    assert "trains those 2 epochs again, to the same weights" in str(said)
    assert not life.trial(said.trial).intermediate_values
    assert life.run() == TrialState.COMPLETE
    np.testing.assert_array_equal(life.weights(said.trial), expected)
    assert life.trial(said.trial).intermediate_values == life.trial(1).intermediate_values
    assert any("again first" in line for line in life.said)


def test_a_state_that_vanishes_in_between_is_made_again(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill between the two: a trial that waits, and has no checkpoint."""
    expected = life.weights(life.extended(0, 4))

    def vanish(source: Path, target: Path) -> None:
        raise FileNotFoundError(source)

    monkeypatch.setattr("sweeps.study.extend.link_or_copy", vanish)
    said = life.extend(0, 4)
    assert said.again is not None
    assert life.run() == TrialState.COMPLETE
    np.testing.assert_array_equal(life.weights(said.trial), expected)
    assert life.trial(said.trial).intermediate_values == life.trial(1).intermediate_values


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_stop_changes_nothing(life: Life, steps: int, is_kept: bool) -> None:
    expected = life.weights(life.extended(0, 5))
    if not is_kept:
        (life.paths.trial(0) / "final.npz").unlink()
    number = life.extend(0, 5).trial
    assert life.run(stop_after(steps)) == TrialState.WAITING
    assert life.run(stop_after(steps)) in (TrialState.WAITING, TrialState.COMPLETE)
    while life.trial(number).state == TrialState.WAITING:
        life.run()
    np.testing.assert_array_equal(life.weights(number), expected)


def test_a_killed_one_is_queued_again_with_all_that_it_is(life: Life) -> None:
    expected = life.weights(life.extended(0, 4))
    number = life.extend(0, 4).trial

    with pytest.raises(Killed):
        life.run(stop_after(3, Killed))
    assert recover(life.study, life.paths) == [number]
    again = life.trial(number)
    assert origin_of(again) == number
    assert again.number != number
    assert again.user_attrs["asked"] is True
    assert life.run() == TrialState.COMPLETE
    np.testing.assert_array_equal(life.weights(number), expected)


def test_it_can_be_extended_again(life: Life) -> None:
    second = life.extended(0, 3)
    third = life.extended(second, 6)
    assert life.trial(third).user_attrs["extends"] | {"seed": 0} == {
        "trial": second,
        "epochs": [2, 3],
        "plans": [2, 3],
        "total": 6,
        "seed": 0,
        "origin": 0,
    }
    expected = life.weights(third)
    np.testing.assert_array_equal(expected, life.replayed(third))
    (life.paths.trial(second) / "final.npz").unlink()
    np.testing.assert_array_equal(life.weights(life.extended(second, 6)), expected)


def test_a_pruned_trial_thaws_and_is_not_pruned_again(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: True)
    life.study.enqueue_trial({}, user_attrs={"asked": True})
    assert life.run() == TrialState.PRUNED
    assert life.trial(1).user_attrs["epochs_run"] == 1
    same = life.extended(1, 2)  # to the end that it was planned for
    longer = life.extended(1, 4)
    assert stages_of(life.trial(longer), EPOCHS)[0].until == 1
    for number in (same, longer):
        np.testing.assert_array_equal(life.weights(number), life.replayed(number))
    chain = life.extended(same, 3)
    (life.paths.trial(same) / "final.npz").unlink()
    np.testing.assert_array_equal(life.weights(chain), life.weights(life.extended(same, 3)))


def test_values_beside_the_ranges_come_along(life: Life) -> None:
    from sweeps.study.enqueue import enqueue

    asked = enqueue(life.study, life.paths, ["dense_units=8", "filters=3"], budget=life.config)
    assert life.run() == TrialState.COMPLETE
    number = life.extended(asked.trial, 3)
    space = Space(life.config)
    assert values_of(life.trial(number), space) == values_of(life.trial(asked.trial), space)


def test_it_is_planned_for_by_its_own_epochs(life: Life) -> None:
    life.extend(0, 10)
    waiting, forecast = life.trial(1), Forecast(life.config, Space(life.config), 200, left_s=1000.0)
    forecast.learn(life.study.get_trials())
    rest_s = forecast.rest_s(waiting)
    assert rest_s is not None
    assert rest_s == pytest.approx(8.1 * forecast.epoch_s(values_of(waiting, Space(life.config))))
    assert forecast.whole_of(waiting) > 10


def test_its_run_tells_the_whole_curve(life: Life) -> None:
    from sweeps.tracking.events import EVENTS, parse

    number = life.extended(0, 4)
    events = [parse(line) for line in (life.paths.trial(number) / EVENTS).read_bytes().splitlines()]
    known = [event for event in events if event is not None]
    assert known[0]["tags"]["extends"] == "0"
    assert known[0]["params"]["epochs"] == 4
    assert "goes on with #000, from epoch 2" in known[0]["note"]
    assert [event["step"] for event in known if event["kind"] == "epoch"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("number", "epochs", "message"),
    [(0, 2, "more than #000 had, 2"), (0, 1, "more than"), (0, 1001, "from 1 to 1000"), (0, -3, "more than")],
)
def test_epochs_that_cannot_be_are_refused(life: Life, number: int, epochs: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        life.extend(number, epochs)
    assert "\n" not in str(error.value)
    assert len(life.study.trials) == 1


def test_only_what_has_ended_can_go_on(life: Life) -> None:
    waiting = life.extend(0, 4).trial
    with pytest.raises(StudyError, match="but #001 waits"):
        life.extend(waiting, 5)
    trial = life.study.ask()
    with pytest.raises(StudyError, match="but #001 is running"):
        life.extend(waiting, 5)
    life.study.tell(trial, state=TrialState.FAIL)
    with pytest.raises(StudyError, match="but #001 failed"):
        life.extend(waiting, 5)
    with pytest.raises(StudyError, match="no 7"):
        life.extend(7, 5)


def test_a_database_keeps_it_as_a_journal_does(tmp_path: Path, sample: Dataset) -> None:
    from sweeps.study.storage import open_storage, open_study

    config = small_config(budget={"trials": 1, "epochs": EPOCHS})
    journal = Life(config, tmp_path / "journal", sample)
    database = Life(config, tmp_path / "database", sample)
    url = f"sqlite:///{tmp_path}/x.db"
    open_study(config, open_storage(url, database.paths), sample.digest)
    database.study = load_study(
        config.name, url, database.paths, sampler=journal.study.sampler, pruner=journal.study.pruner
    )
    for life in (journal, database):
        assert life.run() == TrialState.COMPLETE
        life.extended(0, 4)
    np.testing.assert_array_equal(journal.weights(1), database.weights(1))
