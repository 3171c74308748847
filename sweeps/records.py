"""Results that are kept as JSON: dataclasses, whose values are of their fields' types when they are read again."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mnistnn.files import atomic_write
from mnistnn.npz import open_plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["DAMAGED", "as_json", "from_plain", "read_plain", "save_plain", "to_plain"]

#: What reading a damaged record raises, also from its own checks.
DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)

_FORMAT = 1
_LARGEST = 4 << 20  # bytes; what a hundred members come to takes a tenth of it

Record = TypeVar("Record", bound="DataclassInstance")


def to_plain(record: DataclassInstance) -> dict[str, Any]:
    """Returns a record as plain values for JSON."""
    return {"format": _FORMAT, **asdict(record)}


def from_plain(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """Rebuilds the record that `to_plain` made values of.

    Raises:
        KeyError, TypeError, ValueError: they are not those of such a record.
    """
    known = dict(values)
    if known.pop("format") != _FORMAT:
        raise ValueError("another format")
    if odd := known.keys() - {field.name for field in fields(kind)}:
        raise ValueError(f"unknown keys {sorted(odd)[:4]}")
    record: Record = _adapter(kind).validate_json(json.dumps(known), strict=True)
    return record


@functools.cache
def _adapter(kind: type[Any]) -> Any:
    """Returns what checks that each value is of the type that its field says."""
    from pydantic import TypeAdapter  # which who only predicts need not wait for

    return TypeAdapter(kind)


def as_json(values: Mapping[str, Any]) -> str:
    """Returns plain values as they are kept."""
    return f"{json.dumps(values, indent=2, ensure_ascii=False)}\n"


def save_plain(values: Mapping[str, Any], path: Path) -> None:
    """Writes plain values as JSON.

    Raises:
        OutputError: they cannot be written.
    """
    with atomic_write(path, "w") as file:
        file.write(as_json(values))


def read_plain(path: Path) -> Any:
    """Reads what `save_plain` wrote.

    Raises:
        OSError, ValueError, RecursionError: there is no such file, or it is no JSON, or too large.
    """
    with open_plain(path) as file:
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError("too large")
    return json.loads(text)
