"""Tables in Markdown, as records are written in it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["row"]


def row(cells: Iterable[object]) -> str:
    """Returns a line of a table; a bar in a cell is no end of it."""
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
