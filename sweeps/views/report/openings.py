"""How often the test images were opened, and what for: the ledger that the one function that opens them keeps."""

from __future__ import annotations

import json
from pathlib import Path

from sweeps.views.report.listed import Opening

__all__ = ["read_openings"]

_LARGEST = 8 << 20  # bytes; forty thousand openings


def read_openings(ledger: Path, digest: str) -> tuple[Opening, ...]:
    """Returns the openings of the test images of the data set with this digest, in their order.

    Args:
        ledger: the file; where there is none, nothing was opened.
        digest: the data set's.
    """
    try:
        with open(ledger, "rb") as file:
            lines = file.read(_LARGEST).splitlines()
    except OSError:
        return ()
    openings = []
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a full disk tore it
        if isinstance(entry, dict) and entry.get("digest") == digest:
            openings.append(Opening(time=str(entry.get("time", "")), purpose=str(entry.get("purpose", ""))))
    return tuple(openings)
