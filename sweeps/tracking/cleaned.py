"""What `clean` took out of a run's folder: `cleaned.json`, beside the events. Written before anything is removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mnistnn.files import atomic_write

__all__ = ["CLEANED", "cleaned_files", "forget_cleaned", "note_cleaned", "was_cleaned"]

CLEANED = "cleaned.json"

_FORMAT = 1
_LONGEST = 1 << 16  # bytes


def cleaned_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns what was removed from `folder`: name → bytes, sha256, time. Nothing, if the record is damaged."""
    try:
        with open(folder / CLEANED, encoding="utf-8") as file:
            files = json.loads(file.read(_LONGEST))["files"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    if not isinstance(files, dict):
        return {}
    return {name: entry for name, entry in files.items() if isinstance(entry, dict)}


def was_cleaned(folder: Path, filename: str) -> bool:
    """Says whether a file is missing because `clean` removed it."""
    return not (folder / filename).exists() and filename in cleaned_files(folder)


def note_cleaned(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds files to the record of what was removed from `folder`.

    Raises:
        OutputError: it cannot be written; then nothing may be removed.
    """
    _write(folder, cleaned_files(folder) | {name: dict(entry) for name, entry in files.items()})


def forget_cleaned(folder: Path, names: Iterable[str]) -> None:
    """Takes files that are there again out of the record.

    Raises:
        OutputError: it cannot be written.
    """
    known = cleaned_files(folder)
    left = {name: entry for name, entry in known.items() if name not in set(names)}
    if not left:
        (folder / CLEANED).unlink(missing_ok=True)
    elif left != known:
        _write(folder, left)


def _write(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    with atomic_write(folder / CLEANED, "w") as file:
        json.dump({"format": _FORMAT, "files": files}, file, indent=2, sort_keys=True)
        file.write("\n")
