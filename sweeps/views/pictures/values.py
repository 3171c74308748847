"""Where a parameter's values lie on an axis, and what is written there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.views.pictures.facts import Parameter, StudyFacts, TrialFacts
from sweeps.views.pictures.style import log_marks, number

__all__ = ["Places", "places_of", "shown_parameters"]

_TICKS = 5


@dataclass(frozen=True, slots=True)
class Places:
    """An axis from 0 to 1 for the values of a parameter.

    Attributes:
        parameter: which.
        choices: its values, if they are a few, those that baselines have besides included.
        low: the value at 0, if they are numbers of a range.
        high: the value at 1.
    """

    parameter: Parameter
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0

    def at(self, value: Any) -> float:
        """Returns where a value lies."""
        if self.choices:
            index = next(i for i, each in enumerate(self.choices) if type(each) is type(value) and each == value)
            return index / (len(self.choices) - 1) if len(self.choices) > 1 else 0.5
        if self.high <= self.low:
            return 0.5
        low, high, value = (math.log(each) if self.parameter.log else each for each in (self.low, self.high, value))
        return float((value - low) / (high - low))

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """The places to mark, and what stands there."""
        if self.choices:
            return [(self.at(value), spelled(value)) for value in self.choices]
        return [(self.at(value), number(value)) for value in self._marks()]

    def _marks(self) -> list[float]:
        low, high = self.low, self.high
        if high <= low:
            return [low]
        if self.parameter.log:
            return log_marks(low, high, _TICKS + 1)
        from matplotlib.ticker import MaxNLocator

        values = MaxNLocator(_TICKS, integer=self.parameter.is_whole, min_n_ticks=2).tick_values(low, high)
        slack = 1e-9 * (high - low)
        return [round(float(value), 12) for value in values if low - slack <= value <= high + slack]


def places_of(parameter: Parameter, trials: Sequence[TrialFacts]) -> Places:
    """Returns the axis of a parameter on which all trials' values lie; those of baselines may lie beside its range."""
    values = [trial.choices[parameter.name] for trial in trials if parameter.name in trial.choices]
    if parameter.choices or not all(_is_number(value) for value in values):
        choices = list(parameter.choices)
        for value in values:
            if not any(type(value) is type(each) and value == each for each in choices):
                choices.append(value)
        if all(_is_number(value) for value in choices):
            choices.sort()
        return Places(parameter, choices=tuple(choices))
    known = [*values, parameter.low, parameter.high]
    if parameter.log and min(known) <= 0:  # a baseline may have what no logarithm has
        known = [value for value in known if value > 0]
    return Places(parameter, low=min(known), high=max(known))


def shown_parameters(facts: StudyFacts, trials: Sequence[TrialFacts], most: int) -> list[Parameter]:
    """Returns the parameters to show, in their order: those that most of the trials have, and not always the same."""
    counts = {}
    for parameter in facts.parameters:
        values = [spelled(trial.choices[parameter.name]) for trial in trials if parameter.name in trial.choices]
        if len(set(values)) > 1:
            counts[parameter.name] = len(values)
    kept = sorted(counts, key=lambda name: -counts[name])[:most]
    return [parameter for parameter in facts.parameters if parameter.name in kept]


def spelled(value: Any) -> str:
    """Returns a value as a study's file has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
