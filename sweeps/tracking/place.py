"""Where a database says that artifacts lie: absolute addresses, which go wrong when the project's folder is moved."""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from sweeps.errors import TrackingError
from sweeps.tracking.address import public, reason_of
from sweeps.tracking.inspect import local_path

__all__ = ["places", "relocate"]

#: All columns of MLflow's tables that hold an address of artifacts.
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_TIMEOUT_S = 30.0


def places(database: Path) -> set[Path]:
    """Returns the folders in which a SQLite database's experiments keep their artifacts, each in a folder of its own.

    Raises:
        TrackingError: it cannot be read.
    """
    with _opened(database, "ro") as connection:
        found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    folders = {local_path(str(location or "")) for (location,) in found}
    return {folder.parent for folder in folders if folder is not None}


def relocate(database: Path, old: Path, new: Path) -> int:
    """Makes all addresses under the folder `old` those under `new`: all of them, or, if it is killed, none.

    Returns:
        How many were changed.

    Raises:
        TrackingError: the database cannot be written.
    """
    changed = 0
    pairs = {(f"{prefix}{old_text}/", f"{prefix}{new_text}/") for prefix, old_text, new_text in _forms(old, new)}
    with _opened(database, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, column in _COLUMNS:
            if column not in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
                continue  # of another version of MLflow
            for begins, becomes in pairs:
                done = connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (becomes, len(begins) + 1, len(begins), begins),
                )
                changed += done.rowcount
        connection.execute("COMMIT")
    return changed


def _forms(old: Path, new: Path) -> Iterator[tuple[str, str, str]]:
    """Yields how an address may be written: as a URL, quoted or not, and as a path."""
    yield "file://", urllib.parse.quote(str(old)), urllib.parse.quote(str(new))
    yield "file://", str(old), urllib.parse.quote(str(new))
    yield "", str(old), str(new)


@contextlib.contextmanager
def _opened(database: Path, mode: str) -> Iterator[sqlite3.Connection]:
    uri = f"{database.absolute().as_uri()}?mode={mode}"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_S, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise TrackingError(
            f"the tracking database must be one that opens, but {public(str(database))} does not "
            f"({reason_of(error)}); see to it, or name another with --tracking-uri."
        ) from error
