"""The one process at a time that keeps a study's clock and the study's own run in MLflow."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from types import TracebackType

import optuna
from optuna.trial import FrozenTrial

from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.budget import Tally
from sweeps.study.locks import FileLock
from sweeps.workers.order import Order
from sweeps.workers.study_log import StudyLog

__all__ = ["Keeper"]

_TRIES, _PAUSE_S = 3, 0.02


class Keeper:
    """A process that keeps a study, or, while another one does, waits for its end to take over.

    Args:
        config: the study.
        paths: its paths.
    """

    def __init__(self, config: StudyConfig, paths: StudyPaths) -> None:
        self._config, self._paths = config, paths
        self._lock = FileLock(paths.lock)
        self._log: StudyLog | None = None
        self.is_keeping = False

    def take(self) -> bool:
        """Tries to become the keeper. Returns whether this process is it now."""
        if not self.is_keeping and self._lock.acquire():
            self._lock.note(f"{os.getpid()}\n")
            self.is_keeping = True
        return self.is_keeping

    def insist(self) -> None:
        """Becomes the keeper.

        Raises:
            StudyError: another process is it.
        """
        for _ in range(_TRIES):  # who only looks whether anybody has the lock has it for microseconds
            if self.take():
                return
            time.sleep(_PAUSE_S)
        holder = "another one"
        with contextlib.suppress(OSError, ValueError):  # it may hold anything
            holder = f"process {int(self._paths.lock.read_text(errors='replace'))}"
        name = self._config.name
        raise StudyError(
            f"one `run` at a time must work on study {name!r}, but {holder} does already; wait for it, stop it, or "
            f"join it with `worker {name}`."
        )

    def look(self, order: Order) -> None:
        """Takes over from a keeper that has left, and opens the study's own run where this process keeps it."""
        if self._log is None and self.take():
            self._log = StudyLog(self._config, self._paths, order.tags, order.inputs)

    def save(self, study: optuna.Study, elapsed_s: float) -> None:
        """Saves the study's clock."""
        if self.is_keeping:
            study.set_user_attr("elapsed_s", round(elapsed_s, 3))

    def best(self, tally: Tally, trial: FrozenTrial) -> None:
        """Records a new best trial."""
        if self._log is not None:
            self._log.best(tally, trial)

    def end(self, tally: Tally, seconds: float) -> None:
        """Records that the study's budget is used up."""
        if self._log is not None:
            self._log.end(tally, seconds)
        elif self.is_keeping:
            StudyLog.end_if_open(self._paths, tally, seconds)

    def attach(self, names: Sequence[str]) -> None:
        """Records that files beside the run's events are pictures of the study."""
        if self._log is not None:
            self._log.attach(names)
        elif self.is_keeping:
            StudyLog.attach_to(self._paths, names)

    def stop(self, reason: str) -> None:
        """Records that the study waits to be gone on with."""
        if self._log is not None:
            self._log.stop(reason)

    def __enter__(self) -> Keeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._log is not None:
            self._log.__exit__(kind, error, traceback)
        self._lock.release()
        self.is_keeping = False
