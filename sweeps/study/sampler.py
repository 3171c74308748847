"""Samplers that propose only what is possible, from seeds that only the study and the trial's number make."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mnistnn.domains import Choice, Domain, FloatRange, IntRange
from sweeps.config import Hyperband, Median, StudyConfig, SuccessiveHalving
from sweeps.errors import ConfigError
from sweeps.study.space import Space

__all__ = ["FeasibleSampler", "check_possible", "make_pruner", "make_sampler"]

Draw: TypeAlias = Callable[[str, Domain], Any]

Point: TypeAlias = Mapping[str, float]

# A draw of TPE costs milliseconds and was learnt from what is possible; a uniform one costs next to nothing.
_MODEL_DRAWS: Final = 12
_ALL_DRAWS: Final = 1_000


def make_sampler(config: StudyConfig, space: Space) -> FeasibleSampler:
    """Returns the study's sampler. What trial n gets follows from the study's seed, n and the trials before alone.

    A grid's points are enqueued when the study is made; its sampler is asked for nothing as long as there are any.
    """
    if config.sampler.type == "qmc":
        return SobolSampler(config, space)
    return FeasibleSampler(config, space)


def check_possible(config: StudyConfig) -> None:
    """Draws a trial of a study that has none, to see that it can be done.

    Raises:
        ConfigError: none of many draws is a possible architecture, or a grid has no possible point.
    """
    space = Space(config)
    if config.sampler.type == "grid":
        if not space.enumerate():
            raise ConfigError("a grid must have a possible point, but [limits] leave none; widen them.")
        return
    study = optuna.create_study(sampler=make_sampler(config, space))
    space.suggest_with(study.ask())


def distribution(domain: Domain) -> BaseDistribution:
    """Returns a domain as Optuna's distribution."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, FloatRange):
        return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


class FeasibleSampler(BaseSampler):
    """Draws whole trials from a sampler of Optuna until one is possible, and gives that one to the trial.

    Optuna would have a sampler draw name by name and reject afterwards, which wastes a trial each time. So everything
    is drawn when the trial first asks, by the same walk that the trial will take, and handed out as its relative
    parameters. The sampler below is made afresh for each trial: what it draws cannot depend on what this process did
    before. A trial that has its parameters already, enqueued or queued again, keeps them.
    """

    def __init__(self, config: StudyConfig, space: Space) -> None:
        self._config = config
        self._space = space
        self._drawn: dict[int, dict[str, Any]] = {}

    def reseed_rng(self) -> None:
        """Does nothing: the seed is made for each trial."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Draws the trial's parameters and returns their distributions."""
        # `fixed_params` is where `enqueue_trial` puts what it was given; Optuna has no other way to see it.
        fixed = dict(trial.system_attrs.get("fixed_params", {}))
        overrides = trial.user_attrs.get("overrides", {})
        params, distributions = self._draw(study, trial, fixed, overrides)
        if any(params.get(name) != value for name, value in trial.params.items()):
            # It was stopped while it asked, and other trials have ended since: what it has is kept.
            params, distributions = self._draw(study, trial, fixed | trial.params, overrides)
        self._drawn[trial.number] = params
        return distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns what was drawn."""
        return self._drawn.pop(trial.number)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draws one parameter that the walk did not meet, which a trial only asks for if it takes another way."""
        seed = self._seed(trial.number, *param_name.encode())
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

    def _seed(self, *keys: int) -> int:
        return int(np.random.SeedSequence([self._config.seed, *keys]).generate_state(1)[0])

    def _draw(
        self, study: Study, trial: FrozenTrial, given: Mapping[str, Any], overrides: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """Returns the first possible draw, with its distributions."""
        reason: str | None = None
        for draw in self._draws(study, trial):
            params: dict[str, Any] = {}
            distributions: dict[str, BaseDistribution] = {}

            def suggest(
                name: str,
                domain: Domain,
                draw: Draw = draw,
                params: dict[str, Any] = params,
                distributions: dict[str, BaseDistribution] = distributions,
            ) -> Any:
                # Drawn even where it is given: what follows is then drawn from the same numbers.
                value = draw(name, domain)
                params[name] = given.get(name, value)
                distributions[name] = distribution(domain)
                return params[name]

            reason = self._space.impossible(self._space.walk(suggest, overrides))
            if reason is None or all(name in given for name in params):
                return params, distributions
        raise _nothing_possible(reason)

    def _draws(self, study: Study, trial: FrozenTrial) -> Iterator[Draw]:
        """Yields functions that draw one parameter after another, one function for each attempt."""
        seed = self._seed(trial.number)
        attempts = _ALL_DRAWS
        if self._config.sampler.type == "tpe" and self._has_model(study):
            base = _tpe(seed, self._config.sampler.startup_trials)
            search_space = base.infer_relative_search_space(study, trial)
            for _ in range(_MODEL_DRAWS):
                yield _drawing(base, study, trial, base.sample_relative(study, trial, search_space))
            attempts -= _MODEL_DRAWS
        uniform = RandomSampler(seed)
        for _ in range(attempts):
            yield _drawing(uniform, study, trial, {})

    def _has_model(self, study: Study) -> bool:
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return len(ended) >= self._config.sampler.startup_trials


class SobolSampler(FeasibleSampler):
    """Gives trial n the n-th possible point of one scrambled Sobol sequence over all names that are searched.

    Optuna's QMCSampler takes its names from the study's first trial and draws the others at random, and counts its
    points in the storage. Here the sequence spans every name that the walk can meet, and a trial's number is its place.
    """

    def __init__(self, config: StudyConfig, space: Space) -> None:
        super().__init__(config, space)
        self._engine: Any = None
        self._ahead: list[Point] = []  # of the sequence, the next last
        self._possible: list[Point] = []

    def _draws(self, study: Study, trial: FrozenTrial) -> Iterator[Draw]:
        for index in range(trial.number, trial.number + _ALL_DRAWS):
            while len(self._possible) <= index:
                self._possible.append(self._next_possible())
            yield _taking(self._possible[index])

    def _next_possible(self) -> Point:
        for _ in range(_ALL_DRAWS):
            if not self._ahead:
                self._ahead = self._more()[::-1]
            point = self._ahead.pop()
            reason = self._space.impossible(self._space.walk(_taking(point)))
            if reason is None:
                return point
        raise _nothing_possible(reason)

    def _more(self) -> list[Point]:
        names = list(self._space.searched)
        if self._engine is None:
            # Takes a second to import, which only this sampler has to pay.
            from scipy.stats import qmc  # type: ignore[import-untyped]

            self._engine = qmc.Sobol(max(len(names), 1), scramble=True, seed=self._seed())
        return [dict(zip(names, row, strict=False)) for row in self._engine.random(64).tolist()]


def _taking(point: Point) -> Draw:
    """Returns what reads a point's values; a name that only an override leads to is none of its own."""
    return lambda name, domain: at(domain, point.get(name, 0.5))


def _nothing_possible(reason: str | None) -> ConfigError:
    return ConfigError(
        f"one of {_ALL_DRAWS:,} draws must be a possible architecture, but none was, the last for its {reason}; "
        "widen [limits] or search smaller nets."
    )


def at(domain: Domain, part: float) -> Any:
    """Returns the value that lies at `part` (0 to 1, 1 not included) of a domain."""
    if isinstance(domain, Choice):
        return domain.values[int(part * len(domain.values))]
    if domain.log:
        half = 0.5 if isinstance(domain, IntRange) else 0.0  # so that both ends of whole numbers get their share
        low, high = math.log(domain.low - half), math.log(domain.high + half)
        value = min(max(math.exp(low + part * (high - low)), domain.low), domain.high)
        return round(value) if isinstance(domain, IntRange) else value
    if domain.step is None:
        return domain.low + part * (domain.high - domain.low)
    count = round((domain.high - domain.low) / domain.step) + 1
    return min(domain.low + int(part * count) * domain.step, domain.high)


def _tpe(seed: int, startup_trials: int) -> TPESampler:
    with warnings.catch_warnings():
        # `group` models conditional names together with those that they come with. It has been experimental for years.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True, constant_liar=True)


def _drawing(base: BaseSampler, study: Study, trial: FrozenTrial, relative: Mapping[str, Any]) -> Draw:
    """Returns a draw from what `base` proposed for all names at once, and one by one for those that it left out."""

    def draw(name: str, domain: Domain) -> Any:
        known = distribution(domain)
        value = relative[name] if name in relative else base.sample_independent(study, trial, name, known)
        return known.to_external_repr(known.to_internal_repr(value))  # a plain int or float, not NumPy's

    return draw


def make_pruner(config: StudyConfig) -> BasePruner:
    """Returns the study's pruner. Trials report after each epoch, with the epoch's number from 1 as the step."""
    pruner = config.pruner
    if isinstance(pruner, Median):
        return MedianPruner(
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
