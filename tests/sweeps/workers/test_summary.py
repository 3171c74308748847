from __future__ import annotations

from optuna.trial import TrialState, create_trial

from sweeps.workers.summary import cut_off


def test_trials_that_the_end_of_a_budget_stopped_are_named() -> None:
    begun = create_trial(
        state=TrialState.WAITING, user_attrs={"label": "dense 8"}, intermediate_values={1: 0.5, 2: 0.4}
    )
    extended = create_trial(
        state=TrialState.WAITING,
        user_attrs={"label": "dense 8", "extends": {"trial": 0, "epochs": 4, "stages": [], "plan": 9}},
    )
    queued = create_trial(state=TrialState.WAITING)
    ended = create_trial(state=TrialState.COMPLETE, value=0.1, user_attrs={"label": "dense 8"})
    assert cut_off([queued, ended], 4) is None
    for number, trial in enumerate((ended, begun, queued, extended)):
        trial.number = number
    line = cut_off([ended, begun, queued, extended], 4)
    assert line is not None
    assert line.startswith(
        "stopped by the end of the budget, to go on in a longer one: #001 (2 of 4 epochs done), #003 ("
    )
