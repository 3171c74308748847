"""Over what a field of a Spec may be searched: the annotation that says which values are legal."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias, get_type_hints

from mnistnn.errors import SpecError

__all__ = ["Choice", "Domain", "FloatRange", "IntRange", "domains_of"]


_STEP_TOLERANCE = 1e-8  # of a step: a tenth is no binary number


@dataclass(frozen=True, slots=True)
class FloatRange:
    """The numbers from `low` to `high`, both included; drawn on a log scale with `log`, in multiples with `step`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)
        if self.step is not None and (self.log or not self.step > 0):
            raise SpecError(f"`step > 0` without `log` must hold, but got (step={self.step}, log={self.log}).")

    def contains(self, value: object) -> bool:
        """Says whether `value` is a number of this range."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < _STEP_TOLERANCE

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class IntRange:
    """The whole numbers from `low` to `high` in steps of `step`, both ends included."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)
        if self.step < 1 or (self.log and self.step != 1):
            raise SpecError(f"`step >= 1`, and 1 with `log`, must hold, but got (step={self.step}, log={self.log}).")

    def contains(self, value: object) -> bool:
        """Says whether `value` is a whole number of this range."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high and (value - self.low) % self.step == 0  # type: ignore[operator]

    def __str__(self) -> str:
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        return f"a whole number from {self.low} to {self.high}{steps}"


@dataclass(frozen=True, slots=True, init=False)
class Choice:
    """One of a few values: strings, numbers or booleans."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        if not values or len({(type(value), value) for value in values}) != len(values):
            raise SpecError(f"a choice must be of at least one value, each given once, but got {list(values)}.")
        object.__setattr__(self, "values", values)

    def contains(self, value: object) -> bool:
        """Says whether `value` is one of the choices; 1 is not taken for true."""
        return any(type(value) is type(known) and value == known for known in self.values)

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(value) for value in self.values)


Domain: TypeAlias = FloatRange | IntRange | Choice


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not low <= high:  # also refuses NaN
        raise SpecError(f"`low <= high` must hold, but got (low={low}, high={high}).")
    if log and not low > 0:
        raise SpecError(f"`low > 0` must hold on a log scale, but got (low={low}).")


def domains_of(spec_class: type) -> dict[str, Domain]:
    """Returns the domain of every field of a Spec class that its annotation gives one, by the field's name."""
    return _domains_of(spec_class)


@functools.cache
def _domains_of(spec_class: Hashable) -> dict[str, Domain]:
    hints = get_type_hints(spec_class, include_extras=True)
    extras = [(name, extra) for name, hint in hints.items() for extra in getattr(hint, "__metadata__", ())]
    return {name: extra for name, extra in extras if isinstance(extra, Domain)}
