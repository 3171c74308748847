from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState, create_trial

from mnistnn.domains import Choice, FloatRange, IntRange
from sweeps.config import StudyConfig, load_study
from sweeps.errors import ConfigError
from sweeps.study.grid import grid_points
from sweeps.study.pruner import make_pruner
from sweeps.study.sampler import make_sampler
from sweeps.study.sobol import at
from sweeps.study.space import Space, Values

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = str(ROOT / "tests" / "sweeps" / "example.toml")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(verbosity)


def load(*overrides: str, study: str = EXAMPLE) -> StudyConfig:
    return load_study(study, root=ROOT, overrides=["sampler.startup_trials=4", *overrides])


def open_study(config: StudyConfig, space: Space | None = None, **more: Any) -> optuna.Study:
    sampler = make_sampler(config, space or Space(config))
    return optuna.create_study(sampler=sampler, pruner=make_pruner(config), study_name="t", load_if_exists=True, **more)


def journal(folder: Path) -> optuna.storages.JournalStorage:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    return optuna.storages.JournalStorage(backend)


def judge(values: Values) -> float:
    """Stands for a training: a number that the search can make smaller."""
    rate = values[f"{values['optimizer']}.learning_rate"]
    return float(abs(np.log(rate / 3e-3)) + values["dropout"] + 10 / values["filters_1"])


def run(study: optuna.Study, space: Space, trials: int) -> list[dict[str, Any]]:
    for _ in range(trials):
        trial = study.ask()
        values = space.suggest_with(trial, trial.user_attrs.get("overrides", {}))
        assert space.impossible(values) is None
        for epoch in (1, 2, 3):
            trial.report(judge(values) / epoch, epoch)
        pruned = trial.number % 4 == 3
        study.tell(trial, None if pruned else judge(values), TrialState.PRUNED if pruned else TrialState.COMPLETE)
    return [trial.params for trial in study.trials]


_IN_A_PROCESS = """
import json, sys
import optuna
sys.path.insert(0, sys.argv[1])
from tests.sweeps.study import test_sampler as t
optuna.logging.set_verbosity(optuna.logging.WARNING)
config = t.load(*json.loads(sys.argv[4]))
space = t.Space(config)
backend = optuna.storages.journal.JournalFileBackend(sys.argv[2])
study = t.open_study(config, space, storage=optuna.storages.JournalStorage(backend))
print(json.dumps(t.run(study, space, int(sys.argv[3]))))
"""


def in_a_process(journal: Path, trials: int, hash_seed: str, overrides: list[str]) -> Any:
    command = [sys.executable, "-c", _IN_A_PROCESS, str(ROOT), str(journal), str(trials), json.dumps(overrides)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [[], ["pruner.type=hyperband"], ["sampler.type=qmc"], ["sampler.type=random"]],
    ids=["tpe", "tpe-hyperband", "qmc", "random"],
)
def test_a_study_goes_on_in_a_new_process_as_if_it_had_not_stopped(tmp_path: Path, overrides: list[str]) -> None:
    config = load(*overrides)
    space = Space(config)
    whole = run(open_study(config, space), space, 12)
    first = in_a_process(tmp_path / "parts.log", 5, "2", overrides)
    assert first == whole[:5]
    assert in_a_process(tmp_path / "parts.log", 7, "3", overrides) == whole
    assert len({json.dumps(params) for params in whole}) == 12


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc"])
def test_only_possible_architectures_are_proposed(kind: str) -> None:
    # About one in ten of all is within these limits.
    config = load(f"sampler.type={kind}", "limits.macs=1_500_000", "limits.params=60_000")
    space = Space(config)
    run(open_study(config, space), space, 12)  # checks each


def test_the_seed_makes_the_trials() -> None:
    def trials(seed: int) -> list[dict[str, Any]]:
        config = load(f"study.seed={seed}")
        space = Space(config)
        return run(open_study(config, space), space, 8)

    assert trials(1) == trials(1)
    assert trials(1) != trials(2)


def test_a_trial_s_draw_does_not_hang_on_what_the_process_drew_before() -> None:
    """Two workers on one study: each draws only some of the trials."""
    config = load()
    space = Space(config)
    alone = run(open_study(config, space), space, 10)
    storage = optuna.storages.InMemoryStorage()
    workers = [open_study(config, Space(config), storage=storage) for _ in range(2)]
    for number in range(10):
        run(workers[number % 2], space, 1)
    assert [trial.params for trial in workers[0].trials] == alone


def test_tpe_learns() -> None:
    config = load("search.dropout={low=0, high=0.5}")
    space = Space(config)
    study = open_study(config, space)
    run(study, space, 40)
    values = [trial.value for trial in study.get_trials(states=[TrialState.COMPLETE])]
    assert np.mean(values[-10:]) < np.mean(values[:10]) - 0.2


def test_a_trial_that_waits_with_its_parameters_keeps_them(tmp_path: Path) -> None:
    config = load()
    space = Space(config)
    study = open_study(config, space, storage=journal(tmp_path))
    run(study, space, 6)
    stopped = study.ask()
    values = space.suggest_with(stopped)
    # Meanwhile other trials end, and what TPE would draw now is something else.
    run(study, space, 2)
    study._storage.set_trial_state_values(stopped._trial_id, TrialState.WAITING)  # as a graceful stop does
    again = study.ask()
    assert again.number == stopped.number
    assert space.suggest_with(again) == values
    assert again.params == stopped.params


@pytest.mark.parametrize("others", [0, 3])
def test_a_trial_that_was_stopped_while_it_asked_goes_on_asking(tmp_path: Path, others: int) -> None:
    config = load()
    space = Space(config)
    whole = run(open_study(config, space), space, 7)
    study = open_study(config, space, storage=journal(tmp_path))
    run(study, space, 6)
    stopped = study.ask()
    stopped.suggest_int("blocks", 1, 2)
    run(study, space, others)
    study._storage.set_trial_state_values(stopped._trial_id, TrialState.WAITING)
    again = study.ask()
    values = space.suggest_with(again)
    assert again.number == stopped.number
    assert again.params["blocks"] == stopped.params["blocks"]
    assert space.impossible(values) is None
    if not others:  # as if it had never been stopped
        assert again.params == whole[6]


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc"])
def test_where_there_is_time_a_proposal_is_what_the_trial_gets_anyway(tmp_path: Path, kind: str) -> None:
    config = load(f"sampler.type={kind}")
    whole = run(open_study(config, space := Space(config)), space, 9)
    study = open_study(config, space, storage=journal(tmp_path))
    sampler: Any = study.sampler
    for _ in range(9):
        size = (tmp_path / "journal.log").stat().st_size
        assert sampler.propose(study, lambda values: 4.0, 4.0) == 4.0
        assert (tmp_path / "journal.log").stat().st_size == size  # nothing is begun yet
        run(study, space, 1)
    assert [trial.params for trial in study.trials] == whole


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc"])
def test_a_proposal_for_a_short_time_is_a_small_net(kind: str) -> None:
    config = load(f"sampler.type={kind}", "search.filters_1={low=8, high=32, step=8}")
    space = Space(config)
    study = open_study(config, space)
    sampler: Any = study.sampler
    run(study, space, 6)

    def reach(values: Values) -> float:
        return 32.0 / values["filters_1"]

    for _ in range(5):
        assert sampler.propose(study, reach, 4.0) == 4.0
        assert run(study, space, 1)[-1]["filters_1"] == 8
    # What comes farthest, where nothing comes far enough.
    assert sampler.propose(study, reach, 5.0) == 4.0
    assert run(study, space, 1)[-1]["filters_1"] == 8
    assert len({json.dumps(trial.params) for trial in study.trials}) == 12
    # One that nobody proposed is not bound to it.
    assert {params["filters_1"] for params in run(study, space, 12)} != {8}


def test_a_trial_that_waits_does_not_get_what_was_proposed(tmp_path: Path) -> None:
    config = load()
    space = Space(config)
    study = open_study(config, space, storage=journal(tmp_path))
    fits, overrides = space.preset_values("small")
    study.enqueue_trial(fits, user_attrs={"overrides": overrides})
    sampler: Any = study.sampler
    sampler.propose(study, lambda values: 4.0, 4.0)
    assert run(study, space, 1) == [fits]


def test_a_proposal_of_a_space_with_nothing_possible() -> None:
    config = load("limits.macs=1000", study="smoke")
    study = open_study(config)
    sampler: Any = study.sampler
    with pytest.raises(ConfigError, match="must be a possible architecture"):
        sampler.propose(study, lambda values: 4.0, 4.0)


def test_an_enqueued_trial_is_not_changed_and_a_part_of_one_is_completed() -> None:
    config = load("limits.macs=1_500_000")
    space = Space(config)
    study = open_study(config, space)
    fits, overrides = space.preset_values("small")
    study.enqueue_trial(fits, user_attrs={"overrides": overrides})
    study.enqueue_trial({"blocks": 2, "optimizer": "adamw", "adamw.weight_decay": 0.005})
    params = run(study, space, 3)
    assert params[0] == fits
    assert {"blocks": 2, "optimizer": "adamw", "adamw.weight_decay": 0.005}.items() <= params[1].items()
    assert "adamw.learning_rate" in params[1]
    assert "filters_2" in params[1]


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc"])
def test_a_part_that_was_enqueued_with_overrides_is_completed_around_them(kind: str) -> None:
    config = load(f"sampler.type={kind}", "limits.macs=1e8", "limits.params=1e8")
    space = Space(config)
    study = open_study(config, space)
    overrides = {"optimizer": "momentum", "momentum.learning_rate": 0.05, "blocks": 4, "filters_3": 8}
    study.enqueue_trial({"batch_size": 200}, user_attrs={"overrides": overrides})
    trial = study.ask()
    values = space.suggest_with(trial, overrides)
    assert overrides.items() <= values.items()
    assert trial.params["batch_size"] == 200
    assert not trial.params.keys() & overrides.keys()


def test_a_retry_added_as_a_copy_keeps_its_parameters() -> None:
    config = load()
    space = Space(config)
    study = open_study(config, space)
    run(study, space, 5)
    origin = study.trials[2]
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=origin.params,
            distributions=origin.distributions,
            system_attrs={"fixed_params": origin.params},
        )
    )
    assert run(study, space, 1)[-1] == origin.params


def test_a_space_with_nothing_possible_is_said_to_be_one() -> None:
    for kind in ("tpe", "qmc"):
        config = load(f"sampler.type={kind}", "limits.macs=1000", study="smoke")
        space = Space(config)
        with pytest.raises(ConfigError, match=r"none was, the last for its macs: .* above the limit of 1,000; widen"):
            space.suggest_with(open_study(config, space).ask())


def test_a_name_that_the_walk_did_not_meet_is_drawn_alone() -> None:
    config = load()
    draws = []
    for _ in range(2):
        study = open_study(config)
        trial = study.ask()
        draws.append((trial.suggest_float("other", 0, 1), trial.suggest_float("another", 0, 1)))
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[0][1]


def test_a_grid_s_points_are_tried_as_they_are() -> None:
    overrides = ["sampler.type=grid", "search.dropout=0.1", "search.dense_dropout=0.1", "search.dense_units=64"]
    overrides += ['search.norm=["none"]', "search.batch_size=100", "search.label_smoothing=0.0", "search.kernel_1=3"]
    overrides += ["search.filters_1=[8, 16]", "search.filters_2=16", "search.padding=same", "search.augment=none"]
    config = load(*overrides, 'search.optimizer=["adam", "sgd"]')
    space = Space(config)
    study = open_study(config, space)
    points = grid_points(space)
    assert len(points) == 2 * 2 * 2
    for point in points:
        study.enqueue_trial(point)
    assert run(study, space, len(points)) == points


def test_places_are_spread_evenly() -> None:
    parts = [(i + 0.5) / 1000 for i in range(1000)]
    for domain in (IntRange(3, 6), IntRange(2, 8, step=2), Choice("a", "b", "c", "d"), FloatRange(0.1, 0.4, step=0.1)):
        values, counts = np.unique([at(domain, part) for part in parts], return_counts=True)
        assert list(counts) == [250] * 4
        assert all(domain.contains(value.item()) for value in values)
    assert at(FloatRange(1e-4, 1.0, log=True), 0.5) == pytest.approx(1e-2)
    assert at(FloatRange(2.0, 4.0), 0.25) == 2.5
    low = [at(IntRange(1, 1000, log=True), part) for part in parts]
    assert min(low) == 1
    assert max(low) > 990
    assert np.median(low) == pytest.approx(22, abs=2)  # half of them in the lower half of the digits


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["pruner.type=none"], NopPruner),
        (["pruner.type=median"], MedianPruner),
        (["pruner.type=successive_halving", "pruner.reduction_factor=4"], SuccessiveHalvingPruner),
        (["pruner.type=hyperband"], HyperbandPruner),
    ],
)
def test_pruners(overrides: list[str], kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    config = load(*overrides, "budget.epochs=9")
    pruner = make_pruner(config)
    assert isinstance(pruner, kind)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capsys.readouterr().err == ""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(pruner=pruner)
    pruned = []
    for number in range(30):
        trial = study.ask({"x": FloatDistribution(0, 1), "y": CategoricalDistribution([1])})
        for epoch in range(1, 10):
            trial.report(number, epoch)
            if trial.should_prune():
                pruned.append(epoch)
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, number)
    assert bool(pruned) == (kind is not NopPruner)


def test_the_median_leaves_a_trial_alone_while_it_warms_up() -> None:
    config = load("pruner.warmup_epochs=2", "pruner.startup_trials=1")
    study = optuna.create_study(pruner=make_pruner(config))
    for bad in (False, False, True):
        trial = study.ask()
        seen = []
        for epoch in (1, 2, 3):
            trial.report(9.0 if bad else 1.0, epoch)
            seen.append(trial.should_prune())
        study.tell(trial, 1.0)
    assert seen == [False, False, True]
