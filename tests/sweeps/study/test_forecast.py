from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.study.forecast import Forecast, duration_text, useful_epochs
from sweeps.study.sampler import make_sampler
from sweeps.study.space import Space
from tests.sweeps.small import end_trial, small_config

CONFIG = small_config(budget__epochs=4)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be changed."""
    time = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: time[0])
    return time


def observed(count: int, epoch_s: float) -> list[FrozenTrial]:
    """Returns trials whose epochs took so long."""
    space = Space(CONFIG)
    study = optuna.create_study(sampler=make_sampler(CONFIG, space))
    for _ in range(count):
        end_trial(study, space, epoch_s=epoch_s)
    return study.trials


def forecast(left_s: float | None = None, *, learnt: int = 8) -> Forecast:
    made = Forecast(CONFIG, Space(CONFIG), 1500, left_s)
    made.learn(observed(learnt, 10.0))
    return made


@pytest.mark.parametrize(
    ("pruner", "epochs", "useful"),
    [
        ({"type": "none"}, 1, 1),
        ({"type": "none"}, 4, 2),
        ({"type": "none"}, 5, 3),
        ({"type": "median", "warmup_epochs": 1}, 4, 2),
        ({"type": "median", "warmup_epochs": 2}, 4, 3),
        ({"type": "median", "warmup_epochs": 9}, 4, 4),
        ({"type": "successive_halving", "min_epochs": 3}, 4, 3),
        ({"type": "hyperband", "min_epochs": 1}, 9, 5),
    ],
)
def test_what_is_worth_starting(pruner: dict[str, Any], epochs: int, useful: int) -> None:
    assert useful_epochs(small_config(pruner=pruner, budget__epochs=epochs)) == useful


def test_it_learns_from_every_trial_once() -> None:
    made = Forecast(CONFIG, Space(CONFIG), 1500)
    trials = observed(5, 10.0)
    values = Space(CONFIG).values(trials[0].params)
    assert made.epoch_s(values) < 1.0
    made.learn(trials[:2])
    assert not made.is_reliable
    made.learn(trials)
    assert made.is_reliable
    assert made.epoch_s(values) == pytest.approx(10.0, rel=0.3)
    again = create_trial(value=1.0, params=trials[4].params, distributions=trials[4].distributions)
    for name, value in {"label": "net", "epoch_s": 30.0, "origin": 0}.items():
        again.user_attrs[name] = value
    made.learn([*trials, again])  # an attempt that went on with the first one
    assert made._model.observations == 5
    assert made.epoch_s(values) > 10.0


def test_a_trial_without_an_epoch_teaches_nothing() -> None:
    made = Forecast(CONFIG, Space(CONFIG), 1500)
    study = optuna.create_study()
    study.ask().set_user_attr("label", "net")
    study.ask().set_user_attr("epoch_s", 3.0)  # its parameters are not whole
    made.learn(study.trials)
    assert made._model.observations == 0


def test_how_far_a_trial_comes(now: list[float]) -> None:
    made = forecast(left_s=1000.0)
    values = Space(CONFIG).values(observed(1, 1.0)[0].params)
    assert made.left_s == 1000.0
    assert made.reach(values) > made.whole > 4
    now[0] += 960.0
    assert 3.5 < made.reach(values) < made.whole  # it could just be done, but there is some caution
    now[0] += 100.0
    assert made.left_s == -60.0
    assert made.reach(values) == 0.0
    assert forecast().reach(values) >= made.whole  # no limit


def test_how_far_a_trial_comes_that_waits(now: list[float]) -> None:
    made = forecast(left_s=25.0)
    known = observed(1, 1.0)[0]

    def waiting(**more: Any) -> FrozenTrial:
        given = {"params": known.params, "distributions": known.distributions} | more
        return create_trial(state=TrialState.WAITING, **given)

    fresh = waiting()
    assert made.reach_of(fresh) == made.reach(Space(CONFIG).values(known.params)) < made.whole
    assert made.useful_reach_of(fresh) == 2
    resumed = waiting(intermediate_values={1: 0.5, 2: 0.4, 3: 0.3})
    assert made.reach_of(resumed) >= made.whole_of(resumed)
    assert 4 < made.whole_of(resumed) < made.whole
    assert made.useful_reach_of(resumed) == 4
    assert made.rest_s(resumed) == pytest.approx(1.1 * made.epoch_s(Space(CONFIG).values(known.params)))
    slow = waiting(intermediate_values={1: 0.5}, user_attrs={"epoch_s": 100.0})  # as it was itself
    assert made.reach_of(slow) < made.useful_reach_of(slow)
    enqueued = waiting(params=None, distributions=None, system_attrs={"fixed_params": known.params})
    assert made.reach_of(enqueued) == made.reach_of(fresh)
    in_part = waiting(params=None, distributions=None, system_attrs={"fixed_params": {"filters_1": 2}})
    assert made.reach_of(in_part) >= made.whole_of(in_part)  # nobody knows
    assert made.rest_s(in_part) is None


def test_durations_in_words() -> None:
    assert duration_text(4, 10.2) == "about 41 s: 4 epochs of 10 s"
    assert duration_text(1, 75.0) == "about 1:15: 1 epoch of 1:15"
    assert duration_text(3, 0.42) == "about 1.3 s: 3 epochs of 0.4 s"
