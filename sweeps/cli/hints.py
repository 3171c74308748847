"""What to do next, in words that can be typed as they stand."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sweeps.config import StudyConfig

__all__ = ["by_make", "show_more", "show_next"]

# The target of the Makefile for a verb.
_TARGETS = {
    "run": "sweep",
    "ensemble": "sweep",
    "submit": "submission",
    "ui": "ui",
    "report": "report",
    "serve": "serve",
}


def by_make() -> bool:
    """Says whether our Makefile called."""
    return bool(os.environ.get("SWEEPS_MAKE"))


def show_next(study: str, verbs: Mapping[str, str]) -> None:
    """Shows on standard error what may be called next: with `make`, if that is how people came here.

    Args:
        study: the study that the verb was about that has just ended.
        verbs: what each verb does.
    """
    group = click.get_current_context().find_root().command
    known = group.commands if isinstance(group, click.Group) else {}
    lines = {_typed(verb, study): what for verb, what in verbs.items() if verb in known}
    width = max(map(len, lines), default=0)
    rows = [f"{line:{width}}  {what}" for line, what in lines.items()]
    if sys.stderr.isatty() and 6 + max(map(len, rows), default=0) > shutil.get_terminal_size().columns:
        rows = list(lines)  # the commands stay whole, so that they can be copied
    for number, row in enumerate(rows):
        click.echo(f"{'next' if not number else '':4}  {row}", err=True)


def show_more(config: StudyConfig, total_s: float) -> None:
    """Shows on standard error how to give a study whose budget is used up as much again.

    Args:
        config: the study.
        total_s: the seconds that it took so far.
    """
    from sweeps.config.duration import duration_code

    called, time_s, trials = _typed("run", config.name), config.budget.time_s, config.budget.trials
    if time_s is not None and (total_s >= time_s or trials is None):
        time = duration_code(2 * time_s)
        given = f"BUDGET={time}" if by_make() else f"--set budget.time={time}"
    elif trials is not None:
        given = f"--set budget.trials={2 * trials}"
        given = f"ARGS='{given}'" if by_make() else given
    else:  # a grid, or arms: there is no more of it
        return
    click.echo(f"more  {called} {given}", err=True)


def _typed(verb: str, study: str) -> str:
    if not by_make():
        return f"{_program()} {verb}" + ("" if verb == "ui" else f" {study}")
    return f"make {_TARGETS[verb]}" + ("" if verb == "ui" or study == "default" else f" STUDY={study}")


def _program() -> str:
    """Returns how this program is called from the current folder."""
    script = Path(sys.argv[0])
    if script.name != "__main__.py":
        return _called(script)
    return f"{_called(Path(sys.executable))} -m sweeps"


def _called(path: Path) -> str:
    found = shutil.which(path.name)
    if found is not None and os.path.abspath(found) == os.path.abspath(path):
        return path.name
    try:
        return str(Path(os.path.abspath(path)).relative_to(Path.cwd()))
    except ValueError:
        return os.path.abspath(path)
