"""What events look like to MLflow: batches within its limits, names and numbers as it takes and shows them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sweeps.tracking.events import Event, parse

if TYPE_CHECKING:
    from mlflow.entities import Metric

__all__ = [
    "MAX_METRICS",
    "MAX_PAIRS",
    "MAX_PARAM",
    "MAX_TAG",
    "batches",
    "is_odd",
    "metrics_of",
    "pairs_of",
    "rounded",
    "text_of",
]

MAX_METRICS, MAX_PAIRS = 800, 100  # in one batch: 1000 in all, and 100 each of params and tags
MAX_PARAM, MAX_TAG, _MAX_KEY = 6000, 8000, 250  # characters

_DIGITS = 5  # of a fraction: MLflow's tables show every one of them; the events have all


def batches(lines: bytes) -> Iterator[tuple[list[Event], int]]:
    """Yields events and their bytes: neighbouring epochs together, all others alone, damaged lines as no event."""
    epochs: list[Event] = []
    size = values = 0
    for line in lines.splitlines(keepends=True):
        event = parse(line)
        more = len(event["metrics"]) if event is not None and event["kind"] == "epoch" else None
        if epochs and (more is None or values + more > MAX_METRICS):
            yield epochs, size
            epochs, size, values = [], 0, 0
        if event is not None and more is not None:
            epochs.append(event)
            size, values = size + len(line), values + more
        else:
            yield ([] if event is None else [event]), len(line)
    if epochs:
        yield epochs, size


def metrics_of(event: Event, step: int) -> list[Metric]:
    """Returns an event's metrics as MLflow takes them.

    What is not finite becomes NaN: MLflow makes 1.8e308 of an infinity, which flattens every chart that it is in.
    """
    from mlflow.entities import Metric

    values = {_key(name): value for name, value in event["metrics"].items()}
    return [
        Metric(name, float("nan") if is_odd(value) else rounded(value), event["time_ms"], step)
        for name, value in values.items()
    ]


def pairs_of(entries: Mapping[str, Any], longest: int) -> list[tuple[str, str]]:
    """Returns params or tags as MLflow takes them, without those that are None."""
    pairs = {_key(name): text_of(value)[:longest] for name, value in entries.items() if value is not None}
    return list(pairs.items())


def is_odd(value: float | str) -> bool:
    """Returns whether a metric is not finite: as the events have it, a string."""
    return isinstance(value, str)


def text_of(value: Any) -> str:
    """Returns a value as people read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return min(f"{value:.{_DIGITS}g}", repr(value), key=len)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\0", "")  # PostgreSQL has no such character


def rounded(value: float) -> float:
    """Returns a finite number as MLflow gets it: a count stays what it is."""
    return float(value) if value == int(value) else float(f"{value:.{_DIGITS}g}")


def _key(name: str) -> str:
    """Returns a name with the characters that MLflow allows."""
    return re.sub(r"[^/\w.\- :]", "_", name, flags=re.ASCII)[:_MAX_KEY] or "_"
