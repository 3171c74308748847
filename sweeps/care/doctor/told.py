"""What a run's folder has recorded: its events and how far they were delivered, in a few facts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.tracking.cursor import Cursor
from sweeps.tracking.events import EVENTS, STATES, Event, parse
from sweeps.tracking.parsing import LONGEST_LINE

__all__ = ["Told", "lines_of", "read_told"]


_STATES = {"start": "running", "resume": "running", "stop": "waiting"}


@dataclass(slots=True)
class Told:
    """The facts.

    Attributes:
        folder: the run's folder.
        cursor: how far its events were delivered.
        key: what the start event calls the run, or "" if there is none.
        state: new, running, waiting, or one of the states in which a run ends.
        last: the event that put it into this state.
        damaged: how many lines hold no event.
        size: the bytes of its whole lines.
        artifacts: the files that it shall keep in MLflow.
    """

    folder: Path
    cursor: Cursor
    key: str = ""
    state: str = "new"
    last: Event | None = None
    damaged: int = 0
    size: int = 0
    artifacts: set[str] = field(default_factory=set)

    @property
    def has_events(self) -> bool:
        """Whether anything was recorded."""
        return self.size > 0

    @property
    def has_ended(self) -> bool:
        """Whether the run's end is recorded."""
        return self.state in STATES

    def is_pending(self, identity: str) -> bool:
        """Whether some events were not delivered yet to the experiment that is called so."""
        return self.has_events and (self.cursor.store != identity or self.cursor.offset != self.size)


def read_told(folder: Path) -> Told:
    """Reads the events in `folder`, however damaged they are."""
    told = Told(folder, Cursor.load(folder))
    for line, size in lines_of(folder / EVENTS):
        whole = line.endswith(b"\n")
        told.size += size if whole else 0
        event = parse(line) if whole else None
        if event is None:
            told.damaged += 1
            continue
        kind = event["kind"]
        if kind == "start":
            told.key = told.key or event["key"]
        if kind == "artifact":
            told.artifacts.add(event["file"])
        if kind in _STATES or kind == "end":
            told.state, told.last = _STATES.get(kind) or event["state"], event
    return told


def lines_of(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yields the lines of an events file and their bytes; of a line that is too long, only the end.

    There are none in a file that is not there, or cannot be read.
    """
    with contextlib.suppress(OSError), open(path, "rb") as file:
        while line := file.readline(LONGEST_LINE + 1):
            size = len(line)
            while not line.endswith(b"\n") and (more := file.readline(LONGEST_LINE)):
                line, size = more, size + len(more)
            yield line, size
