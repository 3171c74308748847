"""One value of `[fixed]` or `[search]` against the domain that a Spec's annotation allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mnistnn.domains import Choice, Domain, FloatRange, IntRange
from mnistnn.errors import SpecError, nearest
from sweeps.config.fault import Fault, shown

__all__ = ["Path", "legal_value", "read_domain"]

_MOST_WHOLE = 1 << 53  # what a float holds
_MOST_STEPS = 10_000  # of a range, for a grid takes them all

Path = tuple[str, ...]


def read_domain(path: Path, value: object, legal: Domain) -> Domain:
    """Returns the domain that `value` asks for: a list is a choice, a table a range, all else one value.

    Args:
        path: where it stands; under `fixed` it must be one value.
        value: as TOML gave it.
        legal: what the Spec allows.

    Raises:
        Fault: it lies outside of `legal`, or is no domain.
    """
    if path[0] == "fixed" and isinstance(value, list | dict):
        raise Fault(path, f"must be one value under [fixed], but got {shown(value)}; move it to [search].")
    if isinstance(value, list):
        return _choice(path, value, legal)
    if isinstance(value, dict):
        return _range(path, value, legal)
    return Choice(legal_value(path, value, legal))


def legal_value(path: Path, value: object, legal: Domain) -> Any:
    """Returns one value as its domain has it: a whole number may stand for a float.

    Raises:
        Fault: it lies outside of `legal`.
    """
    if isinstance(legal, FloatRange) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _MOST_WHOLE else math.inf
    if not legal.contains(value):
        remedy = "take one of those."
        if isinstance(legal, Choice) and isinstance(value, str):
            remedy = nearest(value, [str(known) for known in legal.values])
        raise Fault(path, f"must be {legal}, but got {shown(value)}; {remedy}")
    return value


def _choice(path: Path, values: list[Any], legal: Domain) -> Choice:
    try:
        return Choice(*(legal_value(path, value, legal) for value in values))
    except SpecError as error:
        raise Fault(path, f"does not hold: {error}") from None


def _range(path: Path, table: Mapping[str, Any], legal: Domain) -> Domain:
    if isinstance(legal, Choice):
        raise Fault(path, f"must be a list out of {list(legal.values)}, but got {shown(table)}; write a list.")
    for key in table:
        if key not in ("low", "high", "step", "log"):
            raise Fault((*path, key), f"is no key of a range; {nearest(key, ('low', 'high', 'step', 'log'))}")
    log = table.get("log", legal.log and "step" not in table)
    if not isinstance(log, bool):
        raise Fault((*path, "log"), f"must be true or false, but got {shown(log)}.")
    low, high = (_end(path, key, table.get(key, getattr(legal, key)), legal) for key in ("low", "high"))
    if low == high:
        return Choice(low)
    step = _step(path, table.get("step", None if log else legal.step), legal)
    try:
        made = _made(low, high, step, log, legal)
    except SpecError as error:
        raise Fault(path, f"is no range: {error}") from None
    if step is not None and (high - low) / step > _MOST_STEPS:
        raise Fault(
            (*path, "step"), f"must part the range in at most {_MOST_STEPS:,}, but got {step!r}; take a larger one."
        )
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
        raise Fault(
            path, f"must be whole steps from low to high, but got ({low=}, {high=}, {step=}); move one of them."
        )
    return made


def _made(low: Any, high: Any, step: Any, log: bool, legal: FloatRange | IntRange) -> Domain:
    if isinstance(legal, FloatRange):
        return FloatRange(low, high, log=log, step=step)
    return IntRange(low, high, step=1 if step is None else step, log=log)


def _end(path: Path, key: str, value: object, legal: FloatRange | IntRange) -> Any:
    """An end of the range: a value that is legal itself."""
    return legal_value((*path, key), value, legal)


def _step(path: Path, step: Any, legal: FloatRange | IntRange) -> Any:
    if step is None:
        return None
    whole = isinstance(legal, IntRange)
    if isinstance(step, bool) or not isinstance(step, int if whole else int | float) or not 0 < step < math.inf:
        raise Fault((*path, "step"), f"must be a {'whole ' * whole}number above 0, but got {shown(step)}; take one.")
    if isinstance(legal, IntRange) and step % legal.step:
        raise Fault((*path, "step"), f"must be a multiple of {legal.step}, but got {shown(step)}; take one.")
    return step if whole else float(step)
