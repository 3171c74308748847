from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.errors import ConfigError, StudyError
from sweeps.study.budget import Budget, Tally
from sweeps.study.claims import OutOfTime, claim
from sweeps.study.enqueue import Queued, enqueue
from sweeps.study.forecast import Forecast
from sweeps.study.lookup import find_trial, values_of
from sweeps.study.sampler import make_sampler
from sweeps.study.space import Space
from sweeps.study.storage import load_study, open_storage, open_study
from tests.sweeps.command import ROOT, Home
from tests.sweeps.small import end_trial, make_study, paths_of, small_config

WIDE: dict[str, Any] = {
    "fixed": {"kernel": 3, "schedule": "one_cycle"},
    "search": {
        "blocks": {"low": 1, "high": 2},
        "filters": [2, 4, 8],
        "dense_units": [0, 16],
        "dense_dropout": {"low": 0.0, "high": 0.4},
        "batch_size": [50, 100],
        "optimizer": {
            "adam": {"learning_rate": {"low": 1e-3, "high": 1e-2}},
            "nesterov": {"learning_rate": {"low": 1e-2, "high": 0.2}, "momentum": [0.8, 0.9]},
        },
        "augment": {"translation": {"shift": {"low": 0, "high": 2}}},
    },
    "limits": {"params": 30_000},
}


class Asking:
    """A study, and what is asked of it."""

    def __init__(self, config: StudyConfig, root: Path, dataset: Dataset) -> None:
        self.config, self.paths, self.space = config, paths_of(config, root), Space(config)
        self.study = make_study(config, root, dataset)

    def __call__(self, *texts: str, base: int | None = None, file: StudyConfig | None = None) -> Queued:
        study = load_study(self.config.name, None, self.paths)
        return enqueue(study, self.paths, texts, base=base, budget=file or self.config)

    def values(self, number: int) -> dict[str, Any]:
        return values_of(find_trial(self.study, number), self.space)


@pytest.fixture
def asking(tmp_path: Path, sample: Dataset) -> Asking:
    return Asking(small_config(**WIDE), tmp_path, sample)


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["filters=4-8"], {"blocks": 2, "filters_1": 4, "filters_2": 8}),
        (["filters=4", "blocks=2"], {"blocks": 2, "filters_1": 4, "filters_2": 4}),
        (["filters=4", "filters_2=8", "blocks=2"], {"filters_1": 4, "filters_2": 8}),
        (["pools=1-0"], {"blocks": 2, "pool_1": True, "pool_2": False}),
        (["pool_1=false"], {"pool_1": False}),
        (["convs=1-2", "residuals=0-1"], {"blocks": 2, "residual_1": False, "residual_2": True}),
        (["kernels=5"], {"kernel_1": 5}),
        (["adam.learning_rate=2e-3"], {"optimizer": "adam", "adam.learning_rate": 2e-3}),
        (["optimizer=nesterov", "learning_rate=0.1"], {"nesterov.learning_rate": 0.1}),
        (["momentum=0.9"], {"optimizer": "nesterov", "nesterov.momentum": 0.9}),
        (["dense_dropout=0.1"], {"dense_units": 16, "dense_dropout": 0.1}),
        (["shift=1"], {"translation.shift": 1}),
        (["augment=none"], {"augment": "none"}),
        (["norm=batch_norm", "batch_norm.momentum=0.2"], {"norm": "batch_norm", "batch_norm.momentum": 0.2}),
        (["dense_units=30"], {"dense_units": 30}),
        (["optimizer=sgd", "learning_rate=1"], {"optimizer": "sgd", "sgd.learning_rate": 1.0}),
    ],
    ids=" ".join,
)
def test_names_are_understood_as_people_see_them(asking: Asking, texts: list[str], wanted: dict[str, Any]) -> None:
    queued = asking(*texts)
    values = asking.values(queued.trial)
    assert {name: values[name] for name in wanted} == wanted
    assert asking.space.impossible(values) is None
    assert queued.given == dict(text.split("=") for text in texts)
    trial = find_trial(asking.study, queued.trial)
    assert trial.state == TrialState.WAITING
    assert trial.user_attrs["asked"] is True
    assert trial.user_attrs["overrides"] == queued.outside
    for name in queued.outside:
        domain = asking.space.domains.get(name)
        assert domain is None or not domain.contains(values[name])
    assert str(queued).startswith("queued")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "NAME=VALUE or --from"),
        (["dropout"], "write NAME=VALUE"),
        (["=3"], "write NAME=VALUE"),
        (["lerning_rate=1e-3"], "did you mean 'learning_rate'"),
        (["learning_rate=100"], "learning_rate must be a number from"),
        (["kernels=4"], "must be one of 3, 5, 7"),
        (["filters=4-oops"], "whole number"),
        (["filters=2-2-2-2-2"], "from 0 to 4"),
        (["filters=4-8", "blocks=1"], "must be given once"),
        (["optimizer=addam"], "did you mean 'adam'"),
        (["augment=rotatoin"], "did you mean 'rotation'"),
        (["augment=none+translation"], "alone"),
        (["epochs=9"], "`extend`"),
        (["schedule=cosine"], "same for all trials"),
        (["warmup=0.1"], "same for all trials"),
        (["cosine.end=0.1"], "same for all trials"),
        (["architecture=linear"], "filters"),
        (["filters_3=4"], r"filters_3=4 is of no use beside blocks="),
        (["dense_units=0", "dense_dropout=0.1"], "dense_dropout=0.1 is of no use beside dense_units=0"),
        (["optimizer=adam", "nesterov.momentum=0.9"], "of no use beside optimizer=adam"),
        (["optimizer=adam", "momentum=0.9"], "of no use beside optimizer=adam"),
        (["strides=2-1", "pools=1-1"], "pools=1-1 is of no use beside stride_1=2"),
        (["strides=1-1-1-2"], "strides=1-1-1-2 cannot be, for what comes to that stride is too small"),
        (["convs=1-1", "residuals=0-1"], "residuals=0-1 is of no use beside convs_2=1"),
        (["filters=64-64"], "params: .* above the limit of 30,000"),
        (["kernels=7-7", "padding=valid", "convs=3-3"], "shape: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_in_one_line(asking: Asking, texts: list[str], message: str) -> None:
    before = asking.paths.journal.read_bytes()
    with pytest.raises(ConfigError, match=message) as error:
        asking(*texts)
    assert "\n" not in str(error.value)
    assert asking.paths.journal.read_bytes() == before


def test_the_rest_is_from_another_trial(asking: Asking) -> None:
    first = asking("filters=4-8", "adam.learning_rate=5e-3", "dense_units=30")
    second = asking("learning_rate=2e-3", base=first.trial)
    old, new = asking.values(first.trial), asking.values(second.trial)
    assert {name for name in old if old[name] != new[name]} == {"adam.learning_rate"}
    assert second.changed == {"learning_rate": (5e-3, 2e-3)}
    assert second.outside == {"dense_units": 30}
    assert not second.drawn
    assert f"from #{first.trial:03d}" in str(second)
    third = asking("blocks=1", base=first.trial)
    params = find_trial(asking.study, third.trial).system_attrs["fixed_params"]
    assert "filters_2" not in params  # which means nothing any more
    fourth = asking(base=first.trial)
    assert asking.values(fourth.trial) == old
    with pytest.raises(StudyError, match=r"has 0 to 3 and no 9"):
        asking("blocks=1", base=9)


def test_another_optimizer_draws_its_own_learning_rate(asking: Asking) -> None:
    first = asking("adam.learning_rate=5e-3")
    second = asking("optimizer=nesterov", base=first.trial)
    assert set(second.drawn) == {"nesterov.learning_rate", "nesterov.momentum"}


def test_a_study_that_was_not_begun_is_refused(tmp_path: Path) -> None:
    config = small_config()
    paths = paths_of(config, tmp_path)
    optuna.create_study(study_name=config.name, storage=open_storage(None, paths))
    with pytest.raises(StudyError, match="start it with `run small`"):
        enqueue(load_study(config.name, None, paths), paths, ["filters=2"], budget=config)


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_workers_take_it_up_when_the_trials_are_spent(
    tmp_path: Path, sample: Dataset, sampler: str, storage: str
) -> None:
    config = small_config(sampler={"type": sampler, "startup_trials": 1})
    url, paths = None if storage == "journal" else f"sqlite:///{tmp_path}/x.db", paths_of(config, tmp_path)
    open_study(config, open_storage(url, paths), sample.digest)
    space, budget = Space(config), Budget(2)
    study = load_study(config.name, url, paths, sampler=make_sampler(config, space))
    for _ in range(2):
        claimed = claim(study, paths, budget)
        assert claimed is not None
        space.suggest_with(claimed.trial)
        study.tell(claimed.trial, 1.0)
        claimed.lock.release()
    assert claim(study, paths, budget) is None
    assert budget.is_spent(Tally.of(study.trials))
    queued = enqueue(load_study(config.name, url, paths), paths, ["filters=4", "dropout=0.5"], budget=config)
    assert not budget.is_spent(Tally.of(study.trials))
    claimed = claim(study, paths, budget, Forecast(config, space, 100))
    assert claimed is not None
    assert claimed.trial.number == queued.trial
    values = space.suggest_with(claimed.trial, claimed.trial.user_attrs["overrides"])
    assert (values["filters_1"], values["dropout"]) == (4, 0.5)
    assert {name: claimed.trial.params[name] for name in queued.drawn} == queued.drawn
    assert claim(study, paths, budget) is None
    study.tell(claimed.trial, 1.0)
    claimed.lock.release()
    assert budget.is_spent(Tally.of(study.trials))


def test_it_waits_its_turn_while_there_is_budget(asking: Asking) -> None:
    first, second = asking("filters=2"), asking("filters=4")
    for wanted in (first, second):
        claimed = claim(asking.study, asking.paths, Budget(9))
        assert claimed is not None
        assert claimed.trial.number == wanted.trial


def test_of_those_that_the_rest_of_the_time_holds(tmp_path: Path, sample: Dataset) -> None:
    asking = Asking(small_config(), tmp_path, sample)
    for _ in range(3):
        end_trial(asking.study, asking.space, epoch_s=10.0)
    queued = asking("filters=4")
    short, enough = (Forecast(asking.config, asking.space, 100, left_s) for left_s in (1.0, 1000.0))
    with pytest.raises(OutOfTime):
        claim(asking.study, asking.paths, Budget(3), short)
    claimed = claim(asking.study, asking.paths, Budget(3), enough)
    assert claimed is not None
    assert claimed.trial.number == queued.trial


def test_a_spent_time_is_said(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(budget={"time": "5m", "epochs": 2})
    asking = Asking(config, tmp_path, sample)
    first, second = asking("filters=2").notes
    assert "run small" in first
    assert second == "The study's time holds for it too, of which 5:00 are left; what does not fit waits for more."
    asking.study.set_user_attr("elapsed_s", 301.0)
    said = "\n".join(asking("filters=2").notes)
    assert "5:01 of 5:00" in said
    assert "  sweeps run small --set budget.time=16m" in said
    longer = small_config(budget={"time": "10m", "epochs": 2})
    assert "budget.time" not in "".join(asking("filters=2", file=longer).notes)


@pytest.mark.slow
def test_a_sweep_at_work_takes_up_what_is_asked_for(home: Home) -> None:
    """Queued, extended and forked while workers train: each counts at once, and none towards the budget."""
    command = [sys.executable, "-m", "sweeps", "run", "smoke", "--set", "budget.trials=24", "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, env=home.environment, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not (said := home("trials", "smoke", "--json")).out.count("COMPLETE"):
            assert time.monotonic() < deadline, said.err
            time.sleep(0.1)
        done = next(row["trial"] for row in said.json if row["state"] == "COMPLETE")
        assert run.poll() is None
        queued = home("enqueue", "smoke", "--from", done, "dropout=0.3", "--json").json["trial"]
        extended = home("extend", "smoke", done, "--epochs", 4, "--json").json["trial"]
        forked = home("fork", "smoke", "wider", "--set", "search.dropout.high=0.5", "--quiet", "--json").json
        assert run.wait(60) == 0, run.stderr.read() if run.stderr else ""
    rows = {row["trial"]: row for row in home("trials", "smoke", "--json").json}
    assert len(rows) == 26
    assert {row["state"] for row in rows.values()} <= {"COMPLETE", "PRUNED"}
    assert rows[queued]["dropout"] is None  # beside the ranges
    assert rows[extended]["epochs"] == 4
    assert forked["complete"] >= 1
    assert len(home("trials", "wider", "--json").json) == forked["complete"] + forked["pruned"] + forked["waiting"]
