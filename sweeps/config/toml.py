"""A study's tables value by value, and as TOML in the form in which people write them; Python itself only reads it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["leaves", "to_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RANGE = {"low", "high", "step", "log"}


def to_toml(tables: Mapping[str, Any]) -> str:
    """Returns tables as TOML: `tomllib` reads the same values from it, in the same order.

    A range stays on its line, `{ low = 1, high = 3 }`; every other table gets a head of its own.

    Args:
        tables: of tables, lists, strings, numbers and booleans.

    Raises:
        ValueError: a value is of another kind.
    """
    return "\n".join(_lines(tables, ())).strip() + "\n"


def leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all values of nested tables by dotted paths."""
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if _has_head(value)}
    values = {key: value for key, value in table.items() if key not in tables}
    if path and (values or not tables):
        yield f"[{'.'.join(map(_key, path))}]"
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value)}"
    if values or (path and not tables):
        yield ""
    for key, value in tables.items():
        yield from _lines(value, (*path, key))


def _has_head(value: object) -> bool:
    return isinstance(value, Mapping) and not (value and value.keys() <= _RANGE)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)  # inf and nan, as TOML calls them
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        pairs = [f"{_key(key)} = {_value(each)}" for key, each in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    raise ValueError(f"TOML has no value of the type {type(value).__name__}.")


def _string(text: str) -> str:
    """Returns a string in quotes: TOML escapes as JSON does, and the last control character besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
