"""Puts what many races came to into a page, between two marks; all else there is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.race.summary import Result, lines
from mnistnn.errors import OutputError
from mnistnn.files import atomic_write

__all__ = ["BEGIN", "END", "check_page", "insert"]

BEGIN = "<!-- What stands from here on is written by the races. -->"
END = "<!-- What stands from here on is written by hand. -->"


def check_page(path: Path) -> str:
    """Returns the page, which must have both marks; asked before the races.

    Raises:
        OutputError: there is no such page.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(f"a page must be there to be written into, but {path} is not ({error.strerror}).") from error
    if not 0 <= text.find(BEGIN) < text.find(END):
        raise OutputError(f"a page must have the lines {BEGIN!r} and {END!r}, but {path} lacks them; add them.")
    return text


def insert(path: Path, results: Sequence[Result], goal: float, facts: dict[str, Any]) -> None:
    """Writes the summary, with the command and where it was run, between the page's marks.

    Raises:
        OutputError: the page cannot be written.
    """
    text = check_page(path)
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    with atomic_write(path, "w") as file:
        file.write("\n".join([before + BEGIN, *_section(results, goal, facts), after]))


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
