"""Samplers that propose only what is possible, from seeds that only the study and the trial's number make."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnistnn.domains import Choice, Domain, FloatRange
from sweeps.config import StudyConfig
from sweeps.errors import ConfigError
from sweeps.study.arms import check_arms
from sweeps.study.grid import grid_points
from sweeps.study.searched import searched
from sweeps.study.space import Space, Values

__all__ = [
    "ALL_DRAWS",
    "Draw",
    "FeasibleSampler",
    "check_possible",
    "drawing",
    "make_sampler",
    "nothing_possible",
]

Draw: TypeAlias = Callable[[str, Domain], Any]


class Drawn(NamedTuple):
    """A trial that was drawn: what it is asked for, from which domains, all that follows, and why it cannot be."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    values: Values
    reason: str | None


# A draw of TPE costs milliseconds and was learnt from what is possible; a uniform one costs next to nothing.
_MODEL_DRAWS: Final = 12
ALL_DRAWS: Final = 1_000
# As many are looked at for one that the rest of the time holds: a third of a second, while no core trains.
_TIMED_DRAWS: Final = 120


def make_sampler(config: StudyConfig, space: Space) -> FeasibleSampler:
    """Returns the study's sampler. What trial n gets follows from the study's seed, n and the trials before alone.

    A grid's points are enqueued when the study is made; its sampler is asked for nothing as long as there are any.
    """
    if config.sampler.type == "qmc":
        from sweeps.study.sobol import SobolSampler

        return SobolSampler(config, space)
    return FeasibleSampler(config, space)


def check_possible(config: StudyConfig) -> None:
    """Draws a trial of a study that has none, to see that it can be done.

    Raises:
        ConfigError: none of many draws is a possible architecture, a grid has no possible point, or an arm is none.
    """
    space = Space(config)
    if config.arms:
        check_arms(config, space)
        return
    if config.sampler.type == "grid":
        if not grid_points(space):
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
        self._proposed: tuple[int, Drawn] | None = None

    def propose(self, study: Study, reach: Callable[[Values], float], enough: float) -> float:
        """Draws what the next new trial shall be: the first that comes far enough, else the one that comes farthest.

        A limit of time is one more limit on what is sampled. Where there is time enough, the first possible draw is
        taken, which the trial would have got without being asked for in advance.

        Args:
            study: only one process at a time may propose trials of it.
            reach: says how far a trial with such values would come.
            enough: how far it shall come.

        Returns:
            How far what was drawn comes; a new trial that is asked for now gets it.

        Raises:
            ConfigError: nothing that was drawn is a possible architecture.
        """
        filtered, trial = _as_seen_by_next(study)
        farthest, reason = -1.0, None
        for draw in itertools.islice(self._timed_draws(filtered, trial), _TIMED_DRAWS):
            drawn = self._walk(draw, {}, {})
            reason = drawn.reason or reason
            if drawn.reason is None and (far := reach(drawn.values)) > farthest:
                farthest, self._proposed = far, (trial.number, drawn)
                if far >= enough:
                    break
        if farthest < 0:
            raise nothing_possible(reason)
        return farthest

    def complete(
        self,
        study: Study,
        given: Mapping[str, Any],
        overrides: Mapping[str, Any],
        objection: Callable[[Values], str | None],
    ) -> Drawn:
        """Draws what is not given of the next new trial: the first draw that is possible and meets no objection.

        Args:
            study: only one process at a time may do so.
            given: values of the space.
            overrides: values beside it.
            objection: says what is wrong with such values, or None.

        Returns:
            The draw; where none is fit, the last one, with the reason.
        """
        filtered, trial = _as_seen_by_next(study)
        for draw in self._draws(filtered, trial):
            drawn = self._walk(draw, given, overrides)
            reason = drawn.reason or objection(drawn.values)
            drawn = drawn._replace(reason=reason)
            if reason is None or drawn.params.keys() <= given.keys():
                break
        return drawn

    def reseed_rng(self) -> None:
        """Does nothing: the seed is made for each trial."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Draws the trial's parameters and returns their distributions."""
        # `fixed_params` is where `enqueue_trial` puts what it was given; Optuna has no other way to see it.
        fixed = dict(trial.system_attrs.get("fixed_params", {}))
        overrides = trial.user_attrs.get("overrides", {})
        if self._proposed is not None and self._proposed[0] == trial.number and not (fixed or overrides):
            drawn = self._proposed[1]
        else:
            drawn = self._draw(study, trial, fixed, overrides)
        if any(drawn.params.get(name) != value for name, value in trial.params.items()):
            # It was stopped while it asked, and other trials have ended since: what it has is kept.
            drawn = self._draw(study, trial, fixed | trial.params, overrides)
        self._drawn[trial.number] = drawn.params
        return drawn.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns what was drawn."""
        return self._drawn.pop(trial.number)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draws one parameter that the walk did not meet, which a trial only asks for if it takes another way."""
        seed = self.seed(trial.number, *param_name.encode())
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

    def seed(self, *keys: int) -> int:
        """Returns a seed that follows from the study's and these numbers."""
        return int(np.random.SeedSequence([self._config.seed, *keys]).generate_state(1)[0])

    def _draw(self, study: Study, trial: FrozenTrial, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> Drawn:
        """Returns the first possible draw."""
        reason: str | None = None
        for draw in self._draws(study, trial):
            drawn = self._walk(draw, given, overrides)
            reason = drawn.reason
            if reason is None or all(name in given for name in drawn.params):
                return drawn
        raise nothing_possible(reason)

    def _walk(self, draw: Draw, given: Mapping[str, Any], overrides: Mapping[str, Any]) -> Drawn:
        params: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}

        def suggest(name: str, domain: Domain) -> Any:
            # Drawn even where it is given: what follows is then drawn from the same numbers.
            value = draw(name, domain)
            params[name] = given.get(name, value)
            distributions[name] = distribution(domain)
            return params[name]

        values = self._space.walk(suggest, overrides)
        return Drawn(params, distributions, values, self._space.impossible(values))

    def _timed_draws(self, study: Study, trial: FrozenTrial) -> Iterator[Draw]:
        """Yields the draws of a trial that may not take long."""
        return self._draws(study, trial)

    def _draws(self, study: Study, trial: FrozenTrial) -> Iterator[Draw]:
        """Yields functions that draw one parameter after another, one function for each attempt."""
        study = searched(study)
        seed = self.seed(trial.number)
        attempts = ALL_DRAWS
        if self._config.sampler.type == "tpe" and self._has_model(study):
            base = _tpe(seed, self._config.sampler.startup_trials)
            search_space = base.infer_relative_search_space(study, trial)
            for _ in range(_MODEL_DRAWS):
                yield drawing(base, study, trial, base.sample_relative(study, trial, search_space))
            attempts -= _MODEL_DRAWS
        uniform = RandomSampler(seed)
        for _ in range(attempts):
            yield drawing(uniform, study, trial, {})

    def _has_model(self, study: Study) -> bool:
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return len(ended) >= self._config.sampler.startup_trials


def _as_seen_by_next(study: Study) -> tuple[Any, FrozenTrial]:
    """Returns a study as its next new trial will see it, and a stand-in for that trial."""
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = len(study.get_trials(deepcopy=False))
    study._thread_local.cached_all_trials = None  # as `ask` does: the trials are read again
    return _Unwritten(optuna.pruners._filter_study(study, trial)), trial


class _Unwritten:
    """A study as TPE sees it, without the write by which it tells others what it drew: that trial is not there yet."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    @property
    def _storage(self) -> Any:
        return self

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Writes nothing."""


def nothing_possible(reason: str | None) -> ConfigError:
    """Returns the error for a space of which none of many draws can be, the last for this reason."""
    return ConfigError(
        f"one of {ALL_DRAWS:,} draws must be a possible architecture, but none was, the last for its {reason}; "
        "widen [limits] or search smaller nets."
    )


def _tpe(seed: int, startup_trials: int) -> TPESampler:
    with warnings.catch_warnings():
        # `group` models conditional names together with those that they come with. It has been experimental for years.
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True, constant_liar=True)


def drawing(base: BaseSampler, study: Study, trial: FrozenTrial, relative: Mapping[str, Any]) -> Draw:
    """Returns a draw from what `base` proposed for all names at once, and one by one for those that it left out."""

    def draw(name: str, domain: Domain) -> Any:
        known = distribution(domain)
        value = relative[name] if name in relative else base.sample_independent(study, trial, name, known)
        return known.to_external_repr(known.to_internal_repr(value))  # a plain int or float, not NumPy's

    return draw
