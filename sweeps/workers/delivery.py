"""What a `run` has to do with MLflow: events are delivered while workers train, and the rest of them at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sweeps.paths import StudyPaths
from sweeps.tracking.address import sqlite_path
from sweeps.tracking.cursor import is_elsewhere
from sweeps.tracking.notes import experiment_note
from sweeps.tracking.store import experiment_name

__all__ = ["Delivery"]

_TICK_S = 0.05
_DRAIN_S = 120.0
_DRAIN_AFTER_STOP_S = 15.0
_CLOSE_S = 3.0


class Delivery:
    """Delivers a study's events.

    Args:
        uri: the tracking store.
        root: the project's folder.
        study: its name.
        paths: its paths.
        warn: takes the few lines that a user should read.
        delay_s: how long to wait before MLflow is imported.
    """

    def __init__(
        self, uri: str, root: Path, study: str, paths: StudyPaths, warn: Callable[[str], None], delay_s: float = 0.0
    ) -> None:
        from sweeps.tracking.shipper import Shipper

        self._uri, self._experiment, self._paths, self._warn = uri, experiment_name(study), paths, warn
        self._shipper = Shipper(
            uri, root, self._experiment, paths.folder, note=experiment_note(study), warn=warn, delay_s=delay_s
        )

    def start(self) -> None:
        """Begins to deliver, beside everything else."""
        self._shipper.start()

    def catch_up(self) -> int:
        """Delivers what a study that has ended still has. Returns how many events could not be delivered."""
        if not self._shipper.pending() and not self._is_elsewhere():
            return 0
        self._shipper.start()
        return self._said(self._shipper.close(_DRAIN_S))

    def finish(self, signals: Sequence[int], stopped_by: str) -> int:
        """Waits until MLflow has all events, or the user does not want to wait.

        Args:
            signals: grows with each signal; the next one ends the waiting.
            stopped_by: why the workers were stopped.

        Returns:
            How many events could not be delivered.
        """
        # What ended the workers may keep the events too: a full disk.
        waits_s = _DRAIN_S if stopped_by not in ("signal", "failure") else _DRAIN_AFTER_STOP_S
        deadline, known = time.monotonic() + waits_s, len(signals)
        while self._shipper.pending() and time.monotonic() < deadline and len(signals) == known:
            time.sleep(_TICK_S)
        return self._said(self._shipper.close(_CLOSE_S))

    def _is_elsewhere(self) -> bool:
        database = sqlite_path(self._uri)
        return database is not None and is_elsewhere(self._paths.parent, database, self._experiment)

    def _said(self, undelivered: int) -> int:
        if undelivered:
            self._warn(f"{undelivered} events are not in MLflow yet; the next run sends them.")
        return undelivered
