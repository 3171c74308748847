from __future__ import annotations

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.study.budget import Budget, Clock, Tally


def _trial(state: TrialState, **attributes: object) -> FrozenTrial:
    return create_trial(
        state=state, value=1.0 if state == TrialState.COMPLETE else None, user_attrs=dict(attributes), params={}
    )


def test_a_tally_leaves_out_attempts_that_are_gone_on_with() -> None:
    trials = [
        _trial(TrialState.COMPLETE),
        _trial(TrialState.PRUNED),
        _trial(TrialState.FAIL),
        _trial(TrialState.FAIL, requeued=True),
        _trial(TrialState.WAITING),
        _trial(TrialState.RUNNING),
    ]
    assert Tally.of(trials) == Tally(complete=1, pruned=1, failed=1, waiting=1, running=1)
    assert Tally.of(trials).finished == 2


@pytest.mark.parametrize(
    ("budget", "tally", "elapsed_s", "spent"),
    [
        (Budget(trials=2), Tally(complete=1), 1e9, False),
        (Budget(trials=2), Tally(complete=1, pruned=1), 0.0, True),
        (Budget(time_s=10.0), Tally(complete=99), 9.9, False),
        (Budget(time_s=10.0), Tally(), 10.0, True),
        (Budget(trials=2, time_s=10.0), Tally(complete=1), 10.0, True),
        (Budget(queued_only=True), Tally(complete=3, waiting=1), 0.0, False),
        (Budget(queued_only=True), Tally(complete=3, running=1), 0.0, False),
        (Budget(queued_only=True), Tally(complete=4), 0.0, True),
        (Budget(), Tally(complete=10**6), 1e9, False),
    ],
)
def test_a_budget_is_spent_by_what_ends_first(budget: Budget, tally: Tally, elapsed_s: float, spent: bool) -> None:
    assert budget.is_spent(tally, elapsed_s) is spent


def test_running_trials_take_room() -> None:
    budget = Budget(trials=3)
    assert budget.has_room(Tally(complete=1, running=1))
    assert not budget.has_room(Tally(complete=1, running=2))
    assert budget.has_room(Tally(complete=1, running=1, failed=9))
    assert not Budget(queued_only=True).has_room(Tally(running=1))
    assert Budget().has_room(Tally(running=99))


def test_the_share_is_that_of_what_is_nearer_its_end() -> None:
    budget = Budget(trials=10, time_s=100.0)
    assert budget.share(Tally(complete=2), 50.0) == 0.5
    assert budget.share(Tally(complete=8), 50.0) == 0.8
    assert budget.share(Tally(complete=20), 0.0) == 1.0
    assert Budget().share(Tally(complete=2), 5.0) == 0.0


def test_what_is_left() -> None:
    assert Budget(time_s=100.0).left_s(30.0) == 70.0
    assert Budget(trials=3).left_s(30.0) is None


def test_a_rest_that_is_too_short_is_written_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    clock = Clock(30.0)
    clock.write_off(10.0)
    assert clock.total_s == 40.0
    assert clock.call_s == 0.0


def test_a_clock_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = Clock(30.0)
    now = 107.0
    assert clock.call_s == 7.0
    assert clock.total_s == 37.0


def test_trials_that_were_asked_for_or_imported_do_not_count() -> None:
    trials = [
        _trial(TrialState.COMPLETE),
        _trial(TrialState.COMPLETE, imported={"study": "other", "trial": 3}),
        _trial(TrialState.PRUNED, asked=True),
        _trial(TrialState.COMPLETE, asked=True, imported={"study": "other", "trial": 4}),
        _trial(TrialState.FAIL, asked=True, requeued=True),
        _trial(TrialState.WAITING, asked=True),
        _trial(TrialState.RUNNING, asked=True),
        _trial(TrialState.RUNNING),
    ]
    tally = Tally.of(trials)
    assert tally == Tally(complete=3, pruned=1, waiting=1, running=2, extra=3, asked_waiting=1, asked_running=1)
    assert (tally.finished, tally.ended) == (1, 4)


def test_what_was_asked_for_runs_when_the_trials_are_spent() -> None:
    budget, spent = Budget(trials=2), {"complete": 4, "extra": 2}
    assert budget.is_spent(Tally(**spent))
    assert not budget.has_room(Tally(**spent))
    waits = Tally(**spent, waiting=1, asked_waiting=1)
    assert not budget.is_spent(waits)
    assert budget.has_room(waits)
    assert not budget.has_room_for_any(waits)
    runs = Tally(**spent, running=1, asked_running=1)
    assert not budget.is_spent(runs)
    assert not budget.has_room(runs)
    assert not budget.is_spent(Tally(complete=1, running=1, asked_running=1))
    assert budget.has_room_for_any(Tally(complete=1, running=1, asked_running=1))  # whose core is another's
    assert Budget(trials=2, time_s=10.0).is_spent(waits, 10.0)


def test_a_call_may_end_before_the_budget_does() -> None:
    budget = Budget(trials=9, most=3)
    assert budget.has_room(Tally(complete=1, running=1))
    assert not budget.has_room(Tally(complete=1, running=2, waiting=1, asked_waiting=1))
    assert not budget.is_over(Tally(complete=2, extra=1))
    assert budget.is_over(Tally(complete=3, extra=1))
    assert not budget.is_spent(Tally(complete=3, extra=1))
