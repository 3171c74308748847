"""A study that is done in seconds, and what is needed to run its trials in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from mnistnn.data import Dataset
from sweeps.config import StudyConfig
from sweeps.paths import Paths, StudyPaths
from sweeps.study.bench import Bench
from sweeps.study.budget import Budget
from sweeps.study.claims import claim
from sweeps.study.objective import run_trial
from sweeps.study.pruner import make_pruner
from sweeps.study.sampler import make_sampler
from sweeps.study.space import Space
from sweeps.study.storage import load_study, open_storage, open_study
from sweeps.study.validation import shifted_images

TABLES: dict[str, Any] = {
    "study": {"name": "small", "seed": 3},
    "budget": {"trials": 3, "epochs": 2},
    "pruner": {"type": "none"},
    "fixed": {"blocks": 1, "kernel": 3, "batch_size": 100},
    "search": {
        "filters": [2, 4],
        "dropout": {"low": 0.0, "high": 0.3},
        "optimizer": {"adam": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}},
    },
}


def small_config(**changes: Any) -> StudyConfig:
    """Returns the study; `changes` are its tables' entries by dotted path with `__`: budget__trials=5."""
    tables = copy.deepcopy(TABLES)
    for path, value in changes.items():
        *parents, last = path.split("__")
        table = tables
        for name in parents:
            table = table.setdefault(name, {})
        table[last] = value
    return StudyConfig.from_dict(tables)


def paths_of(config: StudyConfig, root: Path) -> StudyPaths:
    return Paths(root).study(config.name)


def make_study(config: StudyConfig, root: Path, dataset: Dataset) -> optuna.Study:
    """Creates the study under `root` and opens it as a worker does."""
    paths = paths_of(config, root)
    open_study(config, open_storage(None, paths), dataset.digest)
    space = Space(config)
    return load_study(config.name, None, paths, sampler=make_sampler(config, space), pruner=make_pruner(config))


def make_bench(
    config: StudyConfig, root: Path, dataset: Dataset, *, stop: Callable[[], bool] = lambda: False, **changes: Any
) -> Bench:
    train, validation = dataset.split(config.seed)
    known: dict[str, Any] = {
        "config": config,
        "space": Space(config),
        "train": train,
        "validation": validation,
        "dataset": dataset,
        "paths": paths_of(config, root),
        "tags": {"study": config.name},
        "inputs": [],
        "stop": stop,
        "say": lambda line: None,
        "shifted": shifted_images(validation, config.validation_shift, config.seed),
    }
    return Bench(**(known | changes))


def run_next(study: optuna.Study, bench: Bench) -> optuna.trial.TrialState | None:
    """Runs the next trial in this process; None if the budget has no room."""
    claimed = claim(study, bench.paths, Budget(bench.config.budget.trials))
    if claimed is None:
        return None
    try:
        return run_trial(study, claimed.trial, bench)
    finally:
        claimed.lock.release()


class Killed(BaseException):
    """What nothing catches."""


def stop_after(calls: int, error: type[BaseException] | None = None) -> Callable[[], bool]:
    """Returns a stop that says so, or raises `error`, when it was asked so often before."""
    left = iter(range(calls))

    def stop() -> bool:
        if next(left, None) is not None:
            return False
        if error is not None:
            raise error
        return True

    return stop


def end_trial(study: optuna.Study, space: Space, *, epoch_s: float, **params: Any) -> optuna.Trial:
    """Ends a trial that nobody trained, as if its epochs had taken so long."""
    if params:
        study.enqueue_trial(params)
    trial = study.ask()
    space.suggest_with(trial)
    trial.set_user_attr("label", "net")
    trial.set_user_attr("epoch_s", epoch_s)
    study.tell(trial, 1.0)
    return trial
