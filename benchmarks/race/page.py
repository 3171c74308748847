"""Puts what many races came to into a page, between two marks; all else there is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.race.summary import Result, lines
from mnistnn.errors import OutputError
from mnistnn.files import atomic_write

__all__ = ["check_page", "insert", "marks"]


def marks(*, keep_pages: bool) -> tuple[str, str]:
    """Returns the lines that the races' figures stand between, one pair for each way that memory is handled."""
    name = "races with --keep-pages" if keep_pages else "races"
    return f"<!-- {name}: written by `make race` from here -->", f"<!-- {name}: to here -->"


def check_page(path: Path, *, keep_pages: bool) -> str:
    """Returns the page, which must have both marks; asked before the races.

    Raises:
        OutputError: there is no such page.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(f"a page must be there to be written into, but {path} is not ({error.strerror}).") from error
    begin, end = marks(keep_pages=keep_pages)
    if not 0 <= text.find(begin) < text.find(end):
        raise OutputError(f"a page must have the lines {begin!r} and {end!r}, but {path} lacks them; add them.")
    return text


def insert(path: Path, results: Sequence[Result], goal: float, facts: dict[str, Any]) -> None:
    """Writes the summary, with the command and where it was run, between the page's marks.

    Raises:
        OutputError: the page cannot be written.
    """
    text = check_page(path, keep_pages=facts["keep_pages"])
    begin, end = marks(keep_pages=facts["keep_pages"])
    before, after = text[: text.index(begin)], text[text.index(end) :]
    with atomic_write(path, "w") as file:
        file.write("\n".join([before + begin, *_section(results, goal, facts), after]))


def _section(results: Sequence[Result], goal: float, facts: dict[str, Any]) -> list[str]:
    where = facts["environment"]
    versions = f"Python {where['python']}, NumPy {where['numpy']} ({where['blas']}), PyTorch {facts['sides'][1]}"
    return [
        "",
        f"{where['cpu']}; {versions}; commit {where['commit'][:12]}.",
        "",
        "```",
        f"$ {where['command']}",
        *lines(results, goal),
        "```",
        "",
    ]
