"""The events of one run: JSON lines that a worker appends and the shipper delivers to MLflow, in order, later.

A line is one of

    start     key, name, params, tags, metrics (logged once, at step 0), inputs (data sets), note (Markdown)
    epoch     step, metrics
    artifact  file (beside the events), folder (where MLflow shall show it)
    tags      tags
    metrics   metrics that became known after the end, such as what a later evaluation found (logged at step 0)
    experiment  tags and paragraphs (of its note, by heading) of the experiment that the run lies in
    stop      reason: it waits to be resumed
    resume
    end       state (COMPLETE, PRUNED or FAIL), reason, metrics (logged once, at step 0)

with `kind`, `seq` (from 1) and `time_ms`. All that MLflow is told is fixed when the line is written, so that a
line can be sent again unchanged. JSON has no infinities: a metric that is not finite is "nan", "inf" or "-inf".
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mnistnn.errors import OutputError
from sweeps.tracking.address import public
from sweeps.tracking.parsing import LONGEST_LINE, Event, parse

__all__ = ["EVENTS", "STATES", "Event", "TrialLog", "parse"]

EVENTS = "events.jsonl"
STATES = ("COMPLETE", "PRUNED", "FAIL")


class TrialLog:
    """Appends the events of one run to `events.jsonl` in its folder.

    A line is one write, so a kill leaves it whole or not there; a torn last line (a full disk, a power cut) is cut off
    when the file is opened again. One process writes at a time: the one that holds the trial.
    """

    def __init__(self, folder: Path, check: Callable[[], None] = lambda: None) -> None:
        """Opens the log in `folder`, which is made; an existing one goes on.

        Args:
            folder: the run's folder.
            check: called before each line; raises if somebody else writes this log by now.

        Raises:
            OutputError: it cannot be written.
        """
        self.folder = Path(folder)
        self._check = check
        self.last_step = 0  # the last epoch recorded
        self.state = "new"  # new, running, waiting, or one of STATES
        self._seq = 0
        self._time_ms = 0
        self._epoch_metrics: set[str] = set()
        path = self.folder / EVENTS
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            self._recover()
        except OSError as error:
            raise _unwritable(path, error) from error

    def start(
        self,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        inputs: Iterable[Mapping[str, Any]] = (),
        *,
        metrics: Mapping[str, float | None] | None = None,
        note: str = "",
    ) -> bool:
        """Records that the run starts, or, if it did before, that it goes on.

        Args:
            name: the run's name in MLflow.
            params: what was chosen.
            tags: what it was made by.
            inputs: the data sets: name, digest, source, rows, context ("training", "validation").
            metrics: numbers that never change, such as the trial's number and its parameter count.
            note: a short description in Markdown.

        Returns:
            Whether this is the first start; if not, everything but the time is as it was recorded first.
        """
        if self._seq:
            self._append("resume")
            self.state = "running"
            return False
        key = os.urandom(12).hex()  # names the run in MLflow for ever: a run with this key is never made twice
        self._append(
            "start",
            key=key,
            name=name,
            params=dict(params),
            tags={name: value for name, value in tags.items() if value is not None},
            metrics=_plain(metrics or {}),
            inputs=[dict(entry) for entry in inputs],
            note=note,
        )
        self.state = "running"
        return True

    def epoch(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Records the metrics of an epoch, counted from 1. One that is recorded already (a resume) is passed over."""
        if step <= self.last_step:
            return
        values = _plain(metrics)
        self._append("epoch", step=int(step), metrics=values)
        self.last_step = int(step)
        self._epoch_metrics.update(values)

    def artifact(self, filename: str, folder: str = "") -> None:
        """Records that a file of the run's folder is whole, and shall be kept in MLflow, there under `folder`."""
        self._append("artifact", file=filename, folder=folder)

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Records tags that became known after the start; `mlflow.note.content` replaces the description."""
        self._append("tags", tags=dict(tags))

    def metrics(self, metrics: Mapping[str, float | None]) -> None:
        """Records numbers that became known after the end. None may have the name of an epoch's metric."""
        self._append("metrics", metrics=_plain(metrics))

    def experiment(self, tags: Mapping[str, str], paragraphs: Mapping[str, str]) -> None:
        """Records what the experiment, which all runs of a study share, shows: its tags, and parts of its note."""
        self._append("experiment", tags=dict(tags), paragraphs=dict(paragraphs))

    def stop(self, reason: str) -> None:
        """Records that the run stops here and waits to be resumed."""
        self._append("stop", reason=public(reason))
        self.state = "waiting"
        os.fsync(self._file)

    def end(
        self,
        state: str,
        reason: str | None = None,
        metrics: Mapping[str, float | None] | None = None,
        traceback: str | None = None,
    ) -> None:
        """Records that the run ended.

        Args:
            state: COMPLETE, PRUNED or FAIL.
            reason: why, if it was not complete.
            metrics: its results. None may have the name of an epoch's metric: it would be a point of that curve.
            traceback: what failed; becomes the artifact `traceback.txt`.
        """
        values = _plain(metrics or {})
        reason, traceback = public(reason or ""), public(traceback or "")  # what failed may have quoted an address
        if state not in STATES:
            raise ValueError(f"the state must be one of {', '.join(STATES)}, but got {state!r}.")
        if clash := sorted(self._epoch_metrics & values.keys()):
            raise ValueError(f"a result must not be named like an epoch's metric, but got {', '.join(clash)}.")
        if traceback:
            try:
                (self.folder / "traceback.txt").write_text(traceback, encoding="utf-8")
            except OSError as error:
                raise _unwritable(self.folder / "traceback.txt", error) from error
            self.artifact("traceback.txt")
        self._append("end", state=state, reason=reason, metrics=values)
        self.state = state
        os.fsync(self._file)

    @staticmethod
    def first_start(folder: Path) -> Event | None:
        """Returns the event with which the run in `folder` started; None if there is none."""
        try:
            with open(folder / EVENTS, "rb") as file:
                event = parse(file.readline(LONGEST_LINE + 1))
        except OSError:
            return None
        return event if event is not None and event["kind"] == "start" else None

    @staticmethod
    def has_ended(folder: Path) -> bool:
        """Returns whether the last event in `folder` is the run's end; its log may be another process's."""
        try:
            with open(folder / EVENTS, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LINE))
                last = file.read().splitlines()[-1]
        except (OSError, IndexError):
            return False
        event = parse(last)
        return event is not None and event["kind"] == "end"

    def close(self) -> None:
        """Closes the file. Nothing is lost without it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> TrialLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, kind: str, **fields: Any) -> None:
        if self._file < 0:
            raise ValueError(f"the log {self.folder / EVENTS} is closed.")
        self._check()
        now = max(time.time_ns() // 1_000_000, self._time_ms)  # a clock set back must not reorder the epochs
        event = {"kind": kind, "seq": self._seq + 1, "time_ms": now, **fields}
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, default=_jsonable, separators=(",", ":"))
        data = line.encode("utf-8", "replace") + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._file, size)  # no part of a line stays
            raise _unwritable(self.folder / EVENTS, error) from error
        self._seq, self._time_ms = self._seq + 1, now

    def _recover(self) -> None:
        """Reads what was recorded, and cuts off what is not a whole event at the end."""
        whole = offset = 0
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            while line := file.readline(LONGEST_LINE + 1):
                offset += len(line)
                event = parse(line) if line.endswith(b"\n") else None
                if event is None:
                    continue  # damage in the middle stays: the shipper has counted its bytes
                whole = offset
                self._seq, self._time_ms = event["seq"], event["time_ms"]
                if event["kind"] == "epoch":
                    self.last_step = max(self.last_step, event["step"])
                    self._epoch_metrics.update(event["metrics"])
                elif event["kind"] in ("start", "resume", "stop", "end"):
                    self.state = {"stop": "waiting", "end": event.get("state", "")}.get(event["kind"], "running")
        if whole < offset:
            os.ftruncate(self._file, whole)


def _plain(metrics: Mapping[str, float | None]) -> dict[str, float | str]:
    """Returns metrics as JSON can hold them, without those that were not measured."""
    plain: dict[str, float | str] = {}
    for name, value in metrics.items():
        if value is not None:
            number = float(value)
            plain[name] = number if math.isfinite(number) else str(number)
    return plain


def _jsonable(value: Any) -> Any:
    """Returns what JSON can hold instead of `value`: NumPy's scalars as Python's, the rest as text."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else str(value)


def _unwritable(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"a run's events must be writable, but {path} is not ({reason}); make room or move the project.")
