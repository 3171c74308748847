"""A worker of the peer's sweep: Optuna asks, PyTorch trains, MLflow tracks, as the documentation of the three has it.

What may be chosen, within which limits and on which images is read from the study, so that both sweeps search the same.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from benchmarks.peer_project import Job, PeerPaths, track
from benchmarks.peer_training import Images, make_net, train
from mnistnn.data.dataset import Dataset
from mnistnn.recipe import Recipe
from sweeps.config import StudyConfig
from sweeps.study.pruner import make_pruner
from sweeps.study.space import Space

__all__ = ["Impossible", "Objective", "make_sampler", "work"]


class Impossible(Exception):
    """What was drawn is no network, or beyond the study's limits.

    Such a trial fails at once: samplers and pruners leave it out, so it is as if it had been drawn again.
    """


def work(job: Job, index: int, ready: Any) -> None:
    """Runs trials until the budget is used up. Those that run then go on to their ends, as `optimize` has it.

    Args:
        job: what to do.
        index: this worker's number among all.
        ready: an event that is set when study and experiment are there.
    """
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config, paths = job.config, PeerPaths(job.folder)
    objective = Objective(config, job.dataset(), paths)
    ready.wait()
    track(paths)
    study = optuna.load_study(
        study_name=config.name,
        storage=JournalStorage(JournalFileBackend(str(paths.journal))),
        sampler=make_sampler(config, index),
        pruner=make_pruner(config),
    )
    most, ended = config.budget.trials, (TrialState.COMPLETE, TrialState.PRUNED)
    study.optimize(
        objective,
        timeout=None if job.until is None else max(0.0, job.until - time.time()),
        callbacks=[] if most is None else [MaxTrialsCallback(most, states=ended)],
        catch=(Impossible,),
    )


def make_sampler(config: StudyConfig, index: int) -> optuna.samplers.BaseSampler:
    """Returns a worker's sampler. Each has a seed of its own: with one for all, all would draw the same."""
    seed = int(np.random.SeedSequence([config.seed, index]).generate_state(1)[0])
    if config.sampler.type == "random":
        return optuna.samplers.RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of `group`, for years
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=config.sampler.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
        )


class Objective:
    """Trains what a trial suggests, and returns the value of its best epoch.

    Args:
        config: the study.
        dataset: where the images to train on, and to validate on, are taken from.
        paths: where results go.
    """

    def __init__(self, config: StudyConfig, dataset: Dataset, paths: PeerPaths) -> None:
        self._config, self._paths, self._space = config, paths, Space(config)
        self._images = Images(dataset, config.seed)

    def __call__(self, trial: optuna.Trial) -> float:
        is_baseline = "preset" in trial.user_attrs
        values = self._space.suggest_with(trial, trial.user_attrs.get("overrides"))
        if not is_baseline and (reason := self._space.impossible(values)):
            raise Impossible(reason)
        label = self._space.architecture(values)
        trial.set_user_attr("label", label)
        with mlflow.start_run(run_name=f"#{trial.number:03d} {label}"):
            mlflow.log_params(values)
            try:
                return self._train(trial, self._space.recipe(values), may_prune=not is_baseline)
            except optuna.TrialPruned:
                mlflow.set_tag("pruned", True)
                mlflow.end_run("KILLED")
                raise

    def _train(self, trial: optuna.Trial, recipe: Recipe, *, may_prune: bool) -> float:
        metric, sign = self._config.metric, 1 if self._config.direction == "minimize" else -1
        net = make_net(recipe.network, np.random.SeedSequence(self._config.seed, spawn_key=(trial.number,)))
        best, kept, probs = math.inf, {}, None
        for progress in train(net, recipe, self._images):
            mlflow.log_metrics(progress.metrics, step=progress.epoch)
            value = progress.metrics[metric]
            if not math.isfinite(progress.metrics["val_loss"]):
                raise optuna.TrialPruned("diverged")
            trial.report(value, progress.epoch)
            if sign * value < best:
                best, probs = sign * value, progress.probs
                kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            is_last = progress.epoch == recipe.training.epochs
            if may_prune and not is_last and trial.should_prune():
                raise optuna.TrialPruned(f"after epoch {progress.epoch}")
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pt"
            torch.save(kept, weights)
            mlflow.log_artifact(str(weights))
        assert probs is not None  # an epoch at least
        path = self._paths.val_probs(trial.number)
        path.parent.mkdir(parents=True)
        np.savez(path, probs=probs.numpy(), labels=self._images.val_labels.numpy())
        shown = f"{trial.user_attrs['label']}, {metric} {sign * best:.4f}"
        print(f"peer: #{trial.number:03d} {shown}", file=sys.stderr, flush=True)
        return sign * best
