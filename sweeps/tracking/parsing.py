"""Reading the events of a run: a line that is not such as `TrialLog` writes is no event, whatever it holds."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

__all__ = ["LONGEST_LINE", "Event", "parse"]

Event = dict[str, Any]

LONGEST_LINE = 1 << 20
"""Bytes; a longer one was not written here."""

_LONGEST_NAME = 255  # of a file
_DEEPEST = 16
_FEW = 64  # brackets
_LARGEST = 1 << 53
_NOT_FINITE = ("nan", "inf", "-inf")
_FIELDS: dict[str, dict[str, type]] = {
    "start": {"key": str, "name": str, "params": dict, "tags": dict, "metrics": dict, "inputs": list, "note": str},
    "epoch": {"step": int, "metrics": dict},
    "artifact": {"file": str, "folder": str},
    "tags": {"tags": dict},
    "metrics": {"metrics": dict},
    "experiment": {"tags": dict, "paragraphs": dict},
    "stop": {"reason": str},
    "resume": {},
    "end": {"state": str, "reason": str, "metrics": dict},
}


def parse(line: bytes) -> Event | None:
    """Returns the event that a line of an events file holds, or None if it holds none (torn, damaged, not ours)."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(kind := event.get("kind"), str) or kind not in _FIELDS:
        return None
    fields = _FIELDS[kind] | {"seq": int, "time_ms": int}
    if not all(isinstance(event.get(name), wanted) for name, wanted in fields.items()):
        return None
    return event if _is_sound(event, line) else None


def _is_sound(event: Event, line: bytes) -> bool:
    """Returns whether the values are such as a TrialLog writes: nothing that MLflow or a database would choke on."""
    if not all(0 <= event.get(name, 0) < _LARGEST for name in ("seq", "time_ms", "step")):
        return False
    for value in event.get("metrics", {}).values():
        if value not in _NOT_FINITE if isinstance(value, str) else not _is_finite(value):
            return False
    if event["kind"] == "start":
        if not re.fullmatch("[0-9a-f]{8,64}", event["key"]) or not all(
            isinstance(each, dict) for each in event["inputs"]
        ):
            return False
    elif event["kind"] == "artifact" and len(event["file"]) > _LONGEST_NAME:
        return False
    if line.count(b"[") + line.count(b"{") > _FEW and _is_deeper(event, _DEEPEST):
        return False  # whoever writes it as JSON again would come to no end
    # A lone surrogate is no character: no store can keep it.
    return b"\\u" not in line or not re.search("[\ud800-\udfff]", json.dumps(event, ensure_ascii=False))


def _is_deeper(value: Any, levels: int) -> bool:
    """Returns whether lists and tables are nested in one another for more than so many levels."""
    level = [value]
    for _ in range(levels + 1):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
                 if isinstance(inner, dict | list)]  # fmt: skip
    return bool(level)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < math.inf and abs(value) <= sys.float_info.max
