"""How far a run's events were delivered: `shipped.json`, beside them."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path

from mnistnn.errors import OutputError
from sweeps.tracking.events import EVENTS

__all__ = ["CURSOR", "Cursor", "is_elsewhere", "pending_events", "run_id_of"]

CURSOR = "shipped.json"


@dataclass(slots=True)
class Cursor:
    """The next byte to deliver, and its run. If a cursor is lost, all is sent again, which changes nothing."""

    store: str = ""  # ExperimentRef.identity; events go to another store from their start
    offset: int = 0
    run_id: str | None = None
    key: str = ""
    name: str = ""
    doubtful: bool = False  # a create_run was left without an answer: there may be a second run with this key

    @classmethod
    def load(cls, folder: Path) -> Cursor:
        """Returns the cursor in `folder`; a new one where it is not there or damaged."""
        try:
            with open(folder / CURSOR, encoding="utf-8") as file:
                found = cls(**json.loads(file.read(1 << 16)))
        except (OSError, ValueError, TypeError, RecursionError):
            return cls()
        return found if found._is_sound() else cls()

    def _is_sound(self) -> bool:
        offset: object = self.offset
        texts: tuple[object, ...] = (self.store, self.key, self.name, self.run_id or "")
        return type(offset) is int and 0 <= offset < 1 << 63 and all(isinstance(text, str) for text in texts)

    def save(self, folder: Path) -> None:
        """Replaces the cursor in `folder`. It is not synced to the disk: an older one only sends more again.

        Raises:
            OutputError: it cannot be written. The one before is still there.
        """
        temporary = folder / f".{CURSOR}.tmp"
        try:
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
            os.replace(temporary, folder / CURSOR)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            reason = error.strerror or str(error)
            raise OutputError(f"what was delivered must be written down, but {folder} cannot be ({reason}).") from error


def run_id_of(folder: Path) -> str | None:
    """Returns the MLflow run that the events in `folder` went to, or None if they went nowhere yet."""
    return Cursor.load(folder).run_id


def is_elsewhere(folder: Path, database: Path, experiment: str) -> bool:
    """Says whether a folder's events are not in this SQLite database, as it was moved away or made anew.

    Args:
        folder: a run's folder.
        database: the tracking store's file. MLflow is not asked: it would take seconds.
        experiment: the experiment's name.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            found = opened.execute(
                "SELECT experiment_id, creation_time FROM experiments WHERE name = ?", (experiment,)
            ).fetchone()
    except sqlite3.Error:
        return not database.exists()
    return found is None or Cursor.load(folder).store != f"{experiment}/{found[0]}/{found[1]}"


def pending_events(folder: Path, store: str | None = None) -> int:
    """Returns how many events in `folder` wait to be delivered to `store` (None: the one that they went to before)."""
    cursor = Cursor.load(folder)
    offset = cursor.offset if store in (None, cursor.store) else 0
    waiting = 0
    with contextlib.suppress(OSError), open(folder / EVENTS, "rb") as file:
        if offset > os.fstat(file.fileno()).st_size:
            offset = 0
        file.seek(offset)
        while chunk := file.read(1 << 20):
            waiting += chunk.count(b"\n")
    return waiting
