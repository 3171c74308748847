from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from mnistnn.checkpoint import read_header
from mnistnn.data import Dataset
from mnistnn.network import child_seed
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.replay import replay_trial
from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.study.budget import Budget, Tally
from sweeps.study.claims import claim
from sweeps.study.extend import extend
from sweeps.study.fork import fork
from sweeps.study.lineage import seed_of, trial_seed
from sweeps.study.lookup import find_trial
from sweeps.study.pruner import make_pruner
from sweeps.study.recovery import recover
from sweeps.study.repeat import chosen, queue_repeats, repeats_of, unfinished
from sweeps.study.sampler import FeasibleSampler
from sweeps.study.space import Space
from sweeps.study.storage import load_study, origin_of
from tests.sweeps import command
from tests.sweeps.care.archives import make_small
from tests.sweeps.care.lab import Lab, PruneAfter, Tiny
from tests.sweeps.small import Killed, paths_of, small_config, stop_after
from tests.sweeps.workers.runs import wait_for


class PruneAll(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return True


@pytest.fixture(scope="module")
def tiny(sample: Dataset) -> Any:
    return Tiny(sample)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny: Any) -> Lab:
    """A study of two trials that ended and a pruned one. Not to be changed."""
    lab = Lab(tmp_path_factory.mktemp("begun"), tiny, search__dropout=0.2)
    for pruner in (None, None, PruneAfter()):
        lab.run(pruner=pruner)
    return lab


@pytest.fixture
def lab(begun: Lab, tmp_path: Path, tiny: Any) -> Lab:
    shutil.copytree(begun.root, tmp_path / "lab")
    return Lab(tmp_path / "lab", tiny, search__dropout=0.2)


def queue(lab: Lab, *numbers: int, seeds: int = 2) -> list[int]:
    return queue_repeats(lab.study, lab.paths, numbers, seeds)


def run_all(lab: Lab, numbers: list[int], **options: Any) -> None:
    for _ in numbers:
        assert lab.run(**options) == TrialState.COMPLETE


# What is queued.


def test_what_is_missing_is_queued_once_seed_by_seed(lab: Lab) -> None:
    assert unfinished(lab.study, [1, 0], 2) == 4
    made = queue(lab, 1, 0)
    assert made == [3, 4, 5, 6]
    known = [find_trial(lab.study, number).user_attrs["repeats"] for number in made]
    assert [(each["trial"], each["seed"]) for each in known] == [(1, 1), (0, 1), (1, 2), (0, 2)]
    assert known[0] == {"trial": 1, "seed": 1, "study_seed": 3, "origin": 1, "epochs": [], "plans": [], "total": 3}
    assert queue(lab, 1, 0) == made
    assert len(lab.study.trials) == 7
    run_all(lab, made[:2])
    assert queue(lab, 1, 0) == [5, 6]
    assert queue(lab, 1, 0, seeds=3) == [5, 6, 7, 8]
    assert [find_trial(lab.study, number).user_attrs["repeats"]["seed"] for number in (7, 8)] == [3, 3]
    assert unfinished(lab.study, [1], 1) == 0
    assert queue(lab, 1, seeds=1) == []


def test_one_that_failed_for_good_is_queued_anew_and_one_that_diverged_is_not(lab: Lab) -> None:
    first, second = queue(lab, 0)
    trial = lab.study.ask()
    lab.study.tell(trial, state=TrialState.FAIL)
    trial = lab.study.ask()
    lab.study.tell(trial, state=TrialState.PRUNED)
    (again,) = queue(lab, 0)
    assert again not in (first, second)
    assert {seed: origin_of(trial) for seed, trial in repeats_of(lab.study, 0).items()} == {1: again, 2: second}


def test_the_best_are_chosen_and_repeats_never(lab: Lab) -> None:
    ranked = sorted((0, 1), key=lambda number: lab.study.trials[number].value or 0.0)
    assert chosen(lab.study) == ranked  # the pruned one is none
    assert chosen(lab.study, 1) == ranked[:1]
    assert chosen(lab.study, numbers=[ranked[1], ranked[0], ranked[1]]) == ranked
    run_all(lab, queue(lab, 0, 1))
    assert chosen(lab.study) == ranked
    assert extend(lab.study, lab.paths, 3, 4, budget=lab.config).trial == 7
    run_all(lab, [7])
    assert chosen(lab.study) == ranked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 3}, "got 3 and study 'small' has 2; ask for 2"),
        ({"numbers": [2]}, "#002 is PRUNED"),
        ({"numbers": [0, 3]}, "#003 is one of #000"),
        ({"numbers": [9]}, "no 9"),
    ],
)
def test_what_cannot_be_repeated_is_refused_in_one_line(lab: Lab, options: Any, message: str) -> None:
    queue(lab, 0)
    with pytest.raises(StudyError, match=message) as error:
        chosen(lab.study, **options)
    assert "\n" not in str(error.value)


def test_a_study_without_a_complete_trial_has_none_to_repeat(tmp_path: Path, tiny: Any) -> None:
    with pytest.raises(StudyError, match="has none; `run small` longer first"):
        chosen(Lab(tmp_path, tiny).study)


# Its randomness.


@given(st.sets(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 9))), min_size=2, max_size=2))
def test_no_two_trials_share_a_stream(keys: set[tuple[int, int | None]]) -> None:
    seeds = [trial_seed(7, *key) for key in keys]
    seeds += [child_seed(seed, child) for seed in seeds for child in (0, 1)]
    assert len({seed.generate_state(4).tobytes() for seed in seeds}) == len(seeds)


def test_a_repeat_is_another_training_of_the_same_and_comes_out_again(lab: Lab) -> None:
    made = queue(lab, 0)
    run_all(lab, made)
    base = find_trial(lab.study, 0)
    digests = {base.user_attrs["weights_sha256"]}
    for seed, number in enumerate(made, 1):
        trial = find_trial(lab.study, number)
        assert (trial.params, set(trial.intermediate_values)) == (base.params, set(base.intermediate_values))
        assert trial.user_attrs["label"] == base.user_attrs["label"]
        digests.add(trial.user_attrs["weights_sha256"])
        said = read_header(lab.file("weights.npz", number))["extra"]
        assert said == {"study": "small", "trial": number, "seed": 3, "repeats": {"trial": 0, "seed": seed}}
        (start,) = lab.events("start", number)
        assert (start["tags"]["repeats"], start["tags"]["repeat_seed"]) == ("0", str(seed))
        assert f"repeats #000, by its seed {seed}" in start["note"]
        found = lab.replay(number)
        assert (found.exit_code, found.same_state) == (0, True), found.text()
    assert len(digests) == 3
    assert Tally.of(lab.study.trials).finished == 3  # they do not count


def test_it_is_not_pruned(lab: Lab) -> None:
    run_all(lab, queue(lab, 0), pruner=PruneAll())


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_stop_or_a_death_changes_nothing(lab: Lab, steps: int) -> None:
    (number,) = queue(lab, 0, seeds=1)
    assert lab.run(stop=stop_after(steps)) == TrialState.WAITING
    with pytest.raises(Killed):
        lab.run(stop=stop_after(1, Killed))
    assert recover(lab.study, lab.paths) == [number]
    assert queue(lab, 0, seeds=1) == [number]
    assert find_trial(lab.study, number).user_attrs["asked"] is True
    assert lab.run() == TrialState.COMPLETE
    assert lab.replay(number).is_same


def test_a_trial_that_was_extended_is_repeated_stage_by_stage_and_a_repeat_can_be_extended(lab: Lab) -> None:
    assert extend(lab.study, lab.paths, 0, 5, budget=lab.config).trial == 3
    run_all(lab, [3])
    (number,) = queue(lab, 3, seeds=1)
    known = find_trial(lab.study, number).user_attrs["repeats"]
    assert (known["epochs"], known["plans"], known["total"], known["origin"]) == ([3], [3], 5, 0)
    count = iter(range(100))
    assert lab.run(stop=lambda: next(count) >= 7) == TrialState.WAITING  # in the second stage's first epoch
    assert lab.run() == TrialState.COMPLETE
    longer = extend(lab.study, lab.paths, number, 6, budget=lab.config).trial
    run_all(lab, [longer])
    assert seed_of(find_trial(lab.study, longer), 99) == seed_of(find_trial(lab.study, number), 99) == (3, 0, 1)
    for each, epochs in ((number, 5), (longer, 6)):
        found = lab.replay(each)
        assert (found.is_same, found.same_state, found.epochs) == (True, True, epochs), found.text()


# Its life after.


def test_a_fork_has_them_as_repeats_of_its_own_trials(lab: Lab) -> None:
    run_all(lab, queue(lab, 1))
    values = lab.study.trials[1].params
    low, high = (values["adam.learning_rate"] * factor for factor in (0.999, 1.001))
    rate = "search.optimizer.adam.learning_rate"
    made = fork(lab.config, "new", root=lab.root, overrides=[f"{rate}.low={low!r}", f"{rate}.high={high!r}"])
    assert made.complete == 3  # so #001 has another number there
    new = load_study("new", None, type(lab.paths)(lab.root / "studies" / "new"))
    repeats = repeats_of(new, 0)
    assert {seed: trial.number for seed, trial in repeats.items()} == {1: 1, 2: 2}
    assert seed_of(repeats[2], 99) == (3, 1, 2)
    assert unfinished(new, [0], 2) == 0
    assert chosen(new) == [0]
    for number in (1, 2):
        found = replay_trial("new", number, root=lab.root, dataset=lab.data, progress=False)
        assert (found.is_same, found.remarks) == (True, ()), found.text()
    assert queue_repeats(new, type(lab.paths)(lab.root / "studies" / "new"), [0], 3) == [3]
    assert seed_of(new.trials[3], 99) == (3, 1, 3)


def test_an_archive_keeps_what_they_repeat(lab: Lab) -> None:
    made = queue(lab, 0)
    snapshot = Snapshot.parse(Snapshot.of(lab.study).journal())
    kept = [snapshot.trials[number].user_attrs for number in made]
    assert kept == [lab.study.trials[number].user_attrs for number in made]
    snapshot.trials[made[0]].user_attrs["repeats"]["trial"] = "../x"
    with pytest.raises(StudyError, match="what a trial repeats"):
        Snapshot.parse(snapshot.journal())


# What the search sees of them.


def ended(study: optuna.Study, number: int, value: float, *, is_repeat: bool) -> None:
    attributes = {"repeats": {"trial": 0, "seed": number}} if is_repeat else {}
    study.add_trial(create_trial(value=value, user_attrs=attributes, intermediate_values={1: value, 2: value}))


@pytest.mark.parametrize("is_repeat", [True, False])
def test_a_trial_is_not_measured_by_repeats_of_the_best(is_repeat: bool) -> None:
    config = small_config(pruner={"type": "median", "startup_trials": 1, "warmup_epochs": 0})
    study = optuna.create_study(pruner=make_pruner(config))
    ended(study, 0, 0.5, is_repeat=False)
    for number in range(1, 4):
        ended(study, number, 0.1, is_repeat=is_repeat)
    trial = study.ask()
    trial.report(0.4, 1)
    assert trial.should_prune() is not is_repeat


def model_of(config: StudyConfig, *, repeats: int, others: int) -> list[dict[str, Any]]:
    """Returns what the sampler would draw next after ten trials, and after repeats or others of the best of them."""
    space = Space(config)
    study = optuna.create_study(sampler=FeasibleSampler(config, space))
    for number in range(10):
        trial = study.ask()
        space.suggest_with(trial)
        study.tell(trial, float(number))
    best = study.trials[0]
    for number in range(6):
        attributes = {"repeats": {"trial": 0, "seed": number}} if number < repeats else {}
        is_seen = number < repeats + others
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if is_seen else TrialState.FAIL,
                value=-1.0 if is_seen else None,
                params=best.params,
                distributions=best.distributions,
                user_attrs=attributes,
            )
        )
    drawn = study.sampler.complete(study, {}, {}, lambda values: None)
    asked = study.ask()
    space.suggest_with(asked)
    return [drawn.params, asked.params]


def test_the_sampler_does_not_learn_from_repeats() -> None:
    config = small_config(sampler={"type": "tpe", "startup_trials": 5})
    without = model_of(config, repeats=0, others=0)
    assert model_of(config, repeats=6, others=0) == without
    assert model_of(config, repeats=0, others=6) != without


# Running them.


def test_a_call_runs_what_it_is_about_and_nothing_else(lab: Lab) -> None:
    lab.study.enqueue_trial({})  # which a run would take first
    other = queue(lab, 1, seeds=1)
    made = queue(lab, 0)
    budget = Budget(trials=9, time_s=1.0).narrowed(made)
    assert not budget.is_spent(budget.tally(lab.study.trials), elapsed_s=1e9)  # no time of the study's is asked for
    for number in made:
        claimed = claim(lab.study, lab.paths, budget)
        assert claimed is not None
        assert claimed.trial.number == number
        claimed.lock.release()
        assert budget.share(budget.tally(lab.study.trials), 0.0) == made.index(number) / 2
        lab.study.tell(claimed.trial, 1.0)
    assert claim(lab.study, lab.paths, budget) is None
    assert budget.is_spent(budget.tally(lab.study.trials))
    assert find_trial(lab.study, other[0]).state == TrialState.WAITING
    assert Budget(trials=3).narrowed(None) == Budget(trials=3)


@pytest.mark.slow
@pytest.mark.kill
def test_the_verb_goes_on_with_what_ctrl_c_stopped(home: command.Home, sample: Dataset) -> None:
    config, _ = make_small(home.root, sample, budget={"trials": 1, "epochs": 6})
    assert Lab(home.root, sample, budget={"trials": 1, "epochs": 6}).run() == TrialState.COMPLETE
    paths = paths_of(config, home.root)

    def study() -> optuna.Study:
        return load_study("small", None, paths)

    study().set_user_attr("elapsed_s", 1.5)
    arguments = ["repeat", "small", "--top", "1", "--seeds", "2", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps", *arguments],
        cwd=command.ROOT,
        env=home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: (paths.trial(1) / "checkpoint.npz").exists())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "2 repeats have not ended; the same command goes on with them." in out
    assert [trial.state.name for trial in study().trials[1:]] == ["WAITING", "WAITING"]
    again = home(*arguments, "--json")
    assert again.code == 0, again.err
    (group,) = again.json["groups"]
    assert (group["trials"], group["missing"]) == ({"1": 1, "2": 2}, 0)
    assert study().user_attrs["elapsed_s"] == 1.5  # their time is not the study's
    journal = paths.journal.read_bytes()
    third = home(*arguments, "--json")
    assert (third.code, third.json) == (0, again.json)
    assert paths.journal.read_bytes() == journal
    assert home("replay", "small", 1, "--quiet").code == 0
    assert "repeats #000, seed 1" in home("trials", "small").out
