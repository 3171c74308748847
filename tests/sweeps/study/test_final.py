"""The final stage: what a worker takes up next, and for how long, so that all end together."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.study.budget import Budget, Tally
from sweeps.study.claims import OutOfTime, claim
from sweeps.study.final import FinalStage, fit_epochs
from sweeps.study.forecast import Forecast
from sweeps.study.member_time import fewer_epochs
from sweeps.study.recovery import recover
from sweeps.study.space import Space
from sweeps.study.storage import load_study, origin_of
from tests.sweeps.small import make_study, paths_of, small_config

# How many epochs a worker's next member gets.


@pytest.mark.parametrize(
    ("left_s", "most", "epochs"),
    [
        (1000.0, None, 14),  # of several members, of 10 s an epoch: seven of 14.1
        (150.0, None, 14),  # the last one: 14.85, and no part of an epoch
        (212.0, None, 21),  # one half as long again, rather than two of less than three quarters
        (240.0, None, 11),  # two of 11.85 rather than one of 21
        (110.0, None, None),  # 10.85 are less than three quarters
        (80.0, None, None),
        (0.0, None, None),
        (-5.0, None, None),
        (1000.0, 1, 21),  # nothing else may follow, so it is as long as it may be
        (400.0, 2, 19),
    ],
)
def test_the_next_member_is_as_long_as_its_share_of_the_time(left_s: float, most: int | None, epochs: int) -> None:
    assert fit_epochs(left_s, 10.0, 10.0, 14, most) == epochs


@pytest.mark.parametrize(
    ("done", "left_s", "epochs"),
    [
        (9, 200.0, None),  # eleven to do, and time for nineteen
        (9, 115.0, None),  # that is just enough
        (9, 113.0, 19),
        (9, 60.0, 14),
        (9, 17.0, 10),
        (9, 10.0, None),  # not even one
        (5, 50.0, None),  # nine are too few to be of use
        (19, 5.0, None),
    ],
)
def test_a_member_that_would_not_end_has_fewer_epochs(done: int, left_s: float, epochs: int | None) -> None:
    assert fewer_epochs(done, 20, 10.0, left_s, 9.5) == epochs


@given(
    st.floats(1.0, 20_000.0), st.lists(st.floats(5.0, 120.0), min_size=1, max_size=4), st.integers(1, 40),
    st.integers(1, 4),
)  # fmt: skip
def test_workers_that_ask_again_and_again_end_with_the_time(
    left_s: float, epochs_s: list[float], target: int, workers: int
) -> None:
    low, high = -(-3 * target // 4), 3 * target // 2
    mean_s = sum(epochs_s) / len(epochs_s)
    ends = [0.0] * workers
    counts = [0] * len(epochs_s)
    done: list[float] = []
    while ends:
        at_s = heapq.heappop(ends)
        for kind in sorted(range(len(epochs_s)), key=lambda kind: counts[kind]):
            epochs = fit_epochs(left_s - at_s, epochs_s[kind], mean_s, target)
            if epochs is not None:
                break
        else:
            done.append(at_s)
            continue
        assert low <= epochs <= high
        counts[kind] += 1
        heapq.heappush(ends, at_s + epochs * epochs_s[kind])
    assert max(done) <= left_s
    # What is left of a worker's time is less than the shortest member that there may be.
    assert left_s - min(done) <= (low + 0.2) * min(epochs_s) + 1e-6


# What a worker takes up.


def final_config(**changes: Any) -> StudyConfig:
    known: dict[str, Any] = {
        "budget": {"time": "10m", "epochs": 4},
        "final": {"time": "5m", "top": 2, "epochs": 8, "folds": 4},
    }
    return small_config(**known | changes)


class Stage:
    """A study whose search has trials of two architectures; an epoch takes as long as it is told."""

    def __init__(self, root: Path, dataset: Dataset, config: StudyConfig | None = None, *, ended: int = 4) -> None:
        self.config = config or final_config()
        self.root, self.dataset, self.paths = root, dataset, paths_of(self.config, root)
        self.study = make_study(self.config, root, dataset)
        self.space = Space(self.config)
        for number in range(ended):
            self.end_search(filters=2 + 2 * (number % 2), loss=0.5 - number / 10)

    def end_search(self, *, filters: int, loss: float, epoch_s: float = 10.0) -> None:
        self.study.enqueue_trial({"filters_1": filters})
        trial = self.study.ask()
        values = self.space.suggest_with(trial)
        attributes = {"label": self.space.architecture(values), "epoch_s": epoch_s, "val_loss": loss}
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        self.study.tell(trial, loss)

    def stage(self, left_s: float | None, workers: int = 1) -> FinalStage:
        search_s = None if left_s is None else left_s - (self.config.final_s or 0.0)
        forecast = Forecast(self.config, self.space, 1_500, search_s)
        self.forecast = forecast
        return FinalStage(self.config, forecast, self.paths, 1_800, left_s, workers)

    def claim(self, left_s: float | None, **options: Any) -> FrozenTrial | None:
        """Takes up the next trial, as a worker does that has so much time."""
        stage = self.stage(left_s, **options)
        claimed = claim(self.study, self.paths, Budget.of(self.config), self.forecast, stage)
        if claimed is None:
            return None
        claimed.lock.release()
        return self.study._storage.get_trial(claimed.trial._trial_id)

    def cut_off(self, trial: FrozenTrial, *, epochs: int, epoch_s: float) -> None:
        """Lets a trial wait after so many epochs, as one does whose time is up."""
        storage, identifier = self.study._storage, trial._trial_id
        storage.set_trial_intermediate_value(identifier, epochs, 0.1)
        storage.set_trial_user_attr(identifier, "epoch_s", epoch_s)
        storage.set_trial_state_values(identifier, TrialState.WAITING)

    def end(self, trial: FrozenTrial, state: TrialState = TrialState.COMPLETE, epoch_s: float | None = None) -> None:
        if epoch_s is not None:
            self.study._storage.set_trial_user_attr(trial._trial_id, "epoch_s", epoch_s)
        self.study.tell(trial.number, 0.1 if state == TrialState.COMPLETE else None, state=state)


@pytest.fixture
def late(tmp_path: Path, sample: Dataset) -> Stage:
    """A study whose search is over."""
    return Stage(tmp_path, sample)


def final_of(trial: FrozenTrial | None) -> dict[str, Any]:
    assert trial is not None
    found: dict[str, Any] = trial.user_attrs["final"]
    return found


def test_a_member_has_an_architectures_values_a_part_of_all_images_and_epochs_for_its_time(late: Stage) -> None:
    member = late.claim(100.0)
    base = late.study.trials[3]  # the best
    assert member is not None
    assert (member.params, member.state) == (base.params, TrialState.RUNNING)
    # 1,350 images and no validation, where 1,500 and forward 300 took 10 s: 8.5 s an epoch, and some caution.
    assert final_of(member) == {"of": 3, "fold": 1, "folds": 4, "seed": 3, "epochs": 10}
    assert member.user_attrs["epoch_s_estimate"] == pytest.approx(8.49, abs=0.01)


def test_a_member_is_spared_the_validation_on_shifted_images_too(tmp_path: Path, sample: Dataset) -> None:
    late = Stage(tmp_path, sample, final_config(study__validation_shift=2))
    member = late.claim(100.0)
    assert member is not None
    assert member.user_attrs["epoch_s_estimate"] == pytest.approx(10 * 1_350 / (1_500 + 0.3 * 2 * 300), abs=0.01)


def test_architectures_take_turns_and_each_leaves_out_the_parts_in_turn(late: Stage) -> None:
    finals = []
    for _ in range(10):
        member = late.claim(290.0)
        finals.append(final_of(member))
        assert member is not None
        late.end(member, epoch_s=9.0)
    assert [each["of"] for each in finals] == [3, 2] * 5
    # Of both, so that each image has the answers of two: without them none could be held against the other.
    assert [each["fold"] for each in finals] == [1, 1, 2, 2, 3, 3, 4, 4, 1, 1]


def test_a_part_whose_member_failed_is_left_out_again(late: Stage) -> None:
    first, second = late.claim(290.0), late.claim(290.0)
    assert first is not None
    late.end(first, TrialState.FAIL)
    third = late.claim(290.0)
    assert [final_of(each)["fold"] for each in (first, second, third)] == [1, 1, 1]
    assert final_of(third)["of"] == final_of(first)["of"]


def test_a_better_trial_that_ends_late_has_its_turn(late: Stage) -> None:
    assert final_of(late.claim(290.0))["of"] == 3
    late.end_search(filters=4, loss=0.01)
    assert [final_of(late.claim(290.0))["of"] for _ in range(2)] == [2, 5]


def test_how_long_members_take_is_learnt_from_members(late: Stage) -> None:
    first = late.claim(100.0)
    assert first is not None
    late.end(first, epoch_s=18.0)  # twice as long as thought
    second = late.claim(290.0)
    assert second is not None
    # The other architecture's are thought to lie between what was thought and what was seen.
    assert second.user_attrs["epoch_s_estimate"] == pytest.approx((8.49 * 18.0) ** 0.5, rel=1e-3)
    late.end(second)
    third = late.claim(290.0)
    assert third is not None
    assert (final_of(third)["of"], third.user_attrs["epoch_s_estimate"]) == (3, pytest.approx(18.0))


def test_one_that_waits_goes_on_before_a_new_one_begins(late: Stage) -> None:
    member = late.claim(100.0)
    assert member is not None
    late.cut_off(member, epochs=7, epoch_s=9.0)
    again = late.claim(290.0)
    assert again is not None
    assert again.number == member.number
    # One that will not end in time leaves the time to a shorter one; if there is none, it comes farther at least.
    late.study._storage.set_trial_state_values(member._trial_id, TrialState.WAITING)
    again = late.claim(10.0)
    assert again is not None
    assert again.number == member.number
    late.study._storage.set_trial_state_values(member._trial_id, TrialState.WAITING)
    with pytest.raises(OutOfTime):
        late.claim(8.0)


def test_where_three_quarters_do_not_end_half_of_the_epochs_do(late: Stage) -> None:
    assert final_of(late.claim(50.0))["epochs"] == 5  # of 8 that are aimed at
    assert final_of(late.claim(40.0))["epochs"] == 4
    for left_s in (36.0, 20.0):  # nothing is begun that does not end
        with pytest.raises(OutOfTime):
            late.claim(left_s)


def test_a_short_member_is_of_the_quickest_architecture(late: Stage) -> None:
    late.end_search(filters=2, loss=0.25, epoch_s=8.0)
    final = final_of(late.claim(42.0))  # the best one would have four
    assert (final["of"], final["epochs"]) == (4, 5)


def test_one_that_waits_and_would_not_end_gives_way_to_a_short_one_that_does(late: Stage) -> None:
    member = late.claim(100.0)
    assert member is not None
    late.cut_off(member, epochs=1, epoch_s=9.0)
    short = late.claim(50.0)
    assert short is not None
    assert (short.number, final_of(short)["epochs"]) == (member.number + 1, 5)


def test_a_plan_ends_with_a_short_one_where_a_worker_comes_late(late: Stage) -> None:
    picks = late.stage(50.0, workers=2).plan(late.study.trials)
    assert [(pick.base.number, pick.epochs) for pick in picks] == [(3, 5), (2, 5)]


def test_a_worker_for_which_the_search_has_no_trial_left_goes_over(tmp_path: Path, sample: Dataset) -> None:
    late = Stage(tmp_path, sample)
    trial = late.claim(300.0 + 60.0)
    assert trial is not None
    assert "final" not in trial.user_attrs  # four epochs of 10 s fit
    trial = late.claim(300.0 + 30.0)
    assert final_of(trial)["of"] == 3


def test_a_search_that_has_no_time_left_begins_nothing(tmp_path: Path, sample: Dataset) -> None:
    """Not even while too few trials were seen for estimates to be trusted."""
    late = Stage(tmp_path, sample, ended=1)
    assert final_of(late.claim(299.0))["of"] == 0


def test_without_a_complete_trial_nobody_stays(tmp_path: Path, sample: Dataset) -> None:
    late = Stage(tmp_path, sample, ended=0)
    trial = late.claim(400.0)
    assert trial is not None
    assert "final" not in trial.user_attrs
    assert late.claim(299.0) is None  # it may be the one
    late.study.tell(trial.number, state=TrialState.PRUNED)
    with pytest.raises(OutOfTime):
        late.claim(299.0)


def test_a_trial_that_somebody_asked_for_has_its_turn_too(late: Stage) -> None:
    values = late.study.trials[0].params
    late.study.enqueue_trial(values, user_attrs={"asked": True})
    asked = late.claim(200.0)
    assert asked is not None
    assert ("final" in asked.user_attrs, asked.number) == (False, 4)


# A budget in trials.


def by_trials(members: int = 3) -> StudyConfig:
    return final_config(
        budget={"trials": 4, "epochs": 4}, final={"top": 2, "epochs": 8, "folds": 4, "members": members}
    )


def test_so_many_members_follow_the_trials(tmp_path: Path, sample: Dataset) -> None:
    late = Stage(tmp_path, sample, by_trials())
    budget = Budget.of(late.config)
    for number in range(3):
        assert not budget.is_spent(Tally.of(late.study.trials))
        member = late.claim(None)
        assert final_of(member) == {
            "of": (3, 2)[number % 2],
            "fold": number // 2 + 1,
            "folds": 4,
            "seed": 3,
            "epochs": 8,
        }
        assert member is not None
        late.end(member)
    assert budget.is_spent(Tally.of(late.study.trials))
    with pytest.raises(OutOfTime):
        late.claim(None)
    assert Tally.of(late.study.trials) == Tally(complete=7, extra=3, members=3, members_complete=3)
    assert Tally.of(late.study.trials).finished == 4


def test_the_last_trial_of_the_search_is_waited_for(tmp_path: Path, sample: Dataset) -> None:
    """No time presses, so the members are of the best of all, however many workers there are."""
    late = Stage(tmp_path, sample, by_trials(), ended=3)
    last = late.claim(None)
    assert last is not None
    assert "final" not in last.user_attrs
    assert late.claim(None) is None
    late.study.tell(last.number, 0.01)
    assert "final" in (late.claim(None) or last).user_attrs


def test_a_search_that_goes_on_leaves_members_that_wait_alone(tmp_path: Path, sample: Dataset) -> None:
    late = Stage(tmp_path, sample, by_trials())
    member = late.claim(None)
    assert member is not None
    late.study._storage.set_trial_state_values(member._trial_id, TrialState.WAITING)
    late.config = final_config(budget={"trials": 5, "epochs": 4}, final=by_trials().to_dict()["final"])
    trial = late.claim(None)
    assert trial is not None
    assert trial.number != member.number
    assert "final" not in trial.user_attrs


def test_where_time_has_room_for_more_members_than_there_may_be_they_are_longer(
    tmp_path: Path, sample: Dataset
) -> None:
    config = final_config(final={"time": "5m", "top": 2, "epochs": 8, "folds": 4, "members": 2})
    late = Stage(tmp_path, sample, config)
    first = late.claim(299.0, workers=2)
    assert final_of(first)["epochs"] == 12
    assert final_of(late.claim(299.0, workers=2))["epochs"] == 12
    with pytest.raises(OutOfTime):
        late.claim(299.0, workers=2)


# What happens to members in between.


def test_a_member_whose_worker_died_goes_on_as_the_same(late: Stage) -> None:
    member = late.claim(290.0)
    assert member is not None
    assert recover(late.study, late.paths) == [member.number]
    again = late.claim(290.0)
    assert again is not None
    assert (origin_of(again), again.user_attrs["final"]) == (member.number, member.user_attrs["final"])


def test_the_plan_is_what_workers_take_up_if_all_goes_as_estimated(late: Stage) -> None:
    stage = late.stage(290.0, workers=2)
    planned = [(pick.base.number, pick.epochs) for pick in stage.plan(late.study.trials)]
    assert {number for number, _ in planned} == {2, 3}
    assert all(6 <= epochs <= 12 for _, epochs in planned)
    text = stage.describe(late.study.trials)
    assert text.startswith(f"final stage: about {len(planned)} members of #003 conv 4 k3, #002 conv 2 k3; ")
    assert text.endswith("on 1,350 images, in 4:50")
    first = late.claim(290.0, workers=2)
    assert (final_of(first)["of"], final_of(first)["epochs"]) == planned[0]


def test_a_plan_of_trials_says_how_many(tmp_path: Path, sample: Dataset) -> None:
    late = Stage(tmp_path, sample, by_trials(5))
    assert late.stage(None).describe(late.study.trials) == (
        "final stage: 5 members of #003 conv 4 k3, #002 conv 2 k3; 8 epochs each; on 1,350 images"
    )


def test_members_tell_the_sampler_nothing(late: Stage) -> None:
    from sweeps.study.searched import searched

    member = late.claim(290.0)
    assert member is not None
    study = load_study(late.config.name, None, late.paths)
    assert member.number in [trial.number for trial in study.trials]
    assert member.number not in [trial.number for trial in searched(study).get_trials(deepcopy=False)]
