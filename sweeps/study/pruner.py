"""Pruners, from what a study's file says of them."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.config import Hyperband, Median, StudyConfig, SuccessiveHalving
from sweeps.study.searched import searched

__all__ = ["make_pruner"]


class _Median(MedianPruner):
    """Measures a trial by what the search tried, and not by repeats.

    The other pruners need not be told: only those trials are on their rungs that asked whether to go on.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return super().prune(searched(study), trial)


def make_pruner(config: StudyConfig) -> BasePruner:
    """Returns the study's pruner. Trials report after each epoch, with the epoch's number from 1 as the step."""
    pruner = config.pruner
    if isinstance(pruner, Median):
        return _Median(
            n_startup_trials=pruner.startup_trials,
            n_warmup_steps=pruner.warmup_epochs + 1,  # the first step at which it may prune
            interval_steps=pruner.interval_epochs,
            n_min_trials=pruner.min_trials,
        )
    if isinstance(pruner, SuccessiveHalving):
        return SuccessiveHalvingPruner(min_resource=pruner.min_epochs, reduction_factor=pruner.reduction_factor)
    if isinstance(pruner, Hyperband):
        return _hyperband(pruner, config.budget.epochs)
    return NopPruner()


def _hyperband(config: Hyperband, epochs: int) -> HyperbandPruner:
    """Returns the pruner with its brackets made.

    It makes them when it is first asked to prune, and before that takes all trials for one bracket: a process that
    goes on with a study would then propose other trials than one that had never stopped.
    """
    pruner = HyperbandPruner(
        min_resource=min(config.min_epochs, epochs), max_resource=epochs, reduction_factor=config.reduction_factor
    )
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=RandomSampler(0), pruner=pruner)
        study.ask().should_prune()
    finally:
        optuna.logging.set_verbosity(verbosity)
    return pruner
