"""A sampler whose trials fill the space evenly: Sobol's sequence over all names that are searched."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mnistnn.domains import Choice, Domain, IntRange
from sweeps.config import StudyConfig
from sweeps.study.sampler import ALL_DRAWS, Draw, FeasibleSampler, drawing, nothing_possible
from sweeps.study.space import Space

__all__ = ["SobolSampler", "at"]

Point: TypeAlias = Mapping[str, float]


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
        for index in range(trial.number, trial.number + ALL_DRAWS):
            while len(self._possible) <= index:
                self._possible.append(self._next_possible())
            yield _taking(self._possible[index])

    def _timed_draws(self, study: Study, trial: FrozenTrial) -> Iterator[Draw]:
        """Yields the trial's own point, then random ones: the sequence's next belong to the trials after it."""
        yield next(self._draws(study, trial))
        uniform = RandomSampler(self.seed(trial.number))
        while True:
            yield drawing(uniform, study, trial, {})

    def _next_possible(self) -> Point:
        for _ in range(ALL_DRAWS):
            if not self._ahead:
                self._ahead = self._more()[::-1]
            point = self._ahead.pop()
            reason = self._space.impossible(self._space.walk(_taking(point)))
            if reason is None:
                return point
        raise nothing_possible(reason)

    def _more(self) -> list[Point]:
        names = list(self._space.searched)
        if self._engine is None:
            # Takes a second to import, which only this sampler has to pay.
            from scipy.stats import qmc

            self._engine = qmc.Sobol(max(len(names), 1), scramble=True, seed=self.seed())
        return [dict(zip(names, row, strict=False)) for row in self._engine.random(64).tolist()]


def _taking(point: Point) -> Draw:
    """Returns what reads a point's values; a name that only an override leads to is none of its own."""
    return lambda name, domain: at(domain, point.get(name, 0.5))


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
