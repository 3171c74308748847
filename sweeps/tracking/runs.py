"""Delivers the events of one folder to one MLflow run: in order, each once, from where it was left."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sweeps.tracking.address import reason_of
from sweeps.tracking.cleaned import was_cleaned
from sweeps.tracking.cursor import Cursor
from sweeps.tracking.events import EVENTS, Event
from sweeps.tracking.inputs import dataset_inputs
from sweeps.tracking.store import describe
from sweeps.tracking.wire import (
    MAX_METRICS,
    MAX_PAIRS,
    MAX_PARAM,
    MAX_TAG,
    batches,
    is_odd,
    metrics_of,
    pairs_of,
    text_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = ["HIDDEN", "KEY_TAG", "STATUS", "Target", "deliver", "resend"]

KEY_TAG = "sweeps.key"
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}

# MLflow draws KILLED as it draws FAILED, and cuts long names off at their end.
_MARKS = {"PRUNED": "pruned", "FAIL": "failed"}

# What the study's own run shows for all: its trials keep it where MLflow can search, and shows nothing.
HIDDEN = "mlflow.sweeps."
_ENVIRONMENT = frozenset(
    ("python", "numpy", "blas", "machine", "git_commit", "git_dirty", "config_hash", "data", "data_digest")
)

_CHUNK = 1 << 22  # bytes read at once
_REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")


@dataclass(frozen=True, slots=True)
class Target:
    """Where events go."""

    mlflow: MlflowClient
    experiment_id: str
    identity: str


def deliver(target: Target, folder: Path, parent: str | None, warn: Callable[[str], None]) -> int | None:
    """Delivers what the events file in `folder` holds beyond its cursor, and moves the cursor.

    Args:
        target: the store and the experiment.
        folder: the run's folder.
        parent: the id of the parent run, if there is one.
        warn: takes a line about an event that MLflow refuses for good.

    Returns:
        The offset that was reached; None if another process is delivering this folder.

    Raises:
        Exception: whatever MLflow raises when it is away. The cursor is where it should be.
    """
    with _open_locked(folder / EVENTS) as file:
        if file is None:
            return None
        cursor = Cursor.load(folder)
        if cursor.store != target.identity or cursor.offset > os.fstat(file.fileno()).st_size:
            cursor = Cursor(store=target.identity)
        return _Delivery(target, folder, parent, warn, cursor).run(file)


def resend(target: Target, folder: Path, event: Event, warn: Callable[[str], None]) -> None:
    """Sends an event again that was delivered before, where the run shows something else by now.

    Args:
        target: the store and the experiment.
        folder: the run's folder, whose cursor stays as it is.
        event: one of its events.
        warn: takes a line if MLflow refuses it.
    """
    _Delivery(target, folder, None, warn, Cursor.load(folder))._send_or_skip(event)


class _Delivery:
    def __init__(
        self, target: Target, folder: Path, parent: str | None, warn: Callable[[str], None], cursor: Cursor
    ) -> None:
        self.mlflow, self.target = target.mlflow, target
        self.folder, self.parent, self.warn, self.cursor = folder, parent, warn, cursor
        self.rewound = False

    def run(self, file: IO[bytes]) -> int:
        while True:
            file.seek(self.cursor.offset)
            chunk = file.read(_CHUNK)
            whole = chunk[: chunk.rfind(b"\n") + 1]  # a line without its end is still being written
            if not whole and len(chunk) == _CHUNK:
                whole = chunk  # but none of ours is as long: it is damage, and passed over
            if not whole:
                return self.cursor.offset
            for events, size in batches(whole):
                if not self._take(events, size):
                    break  # the cursor jumped

    def _take(self, events: list[Event], size: int) -> bool:
        """Sends a batch and moves the cursor behind it. Returns False if the cursor went somewhere else."""
        from mlflow.exceptions import MlflowException

        try:
            self._send(events)
        except MlflowException as error:
            if error.error_code not in _REFUSED or self.cursor.run_id is None:
                raise
            found = self._found(self.cursor.run_id)
            if found is None and not self.rewound:  # the store was made anew under the same experiment
                self.rewound = True
                self.cursor = Cursor(store=self.target.identity)
                self.cursor.save(self.folder)
                return False
            if found is not None and found.info.lifecycle_stage == "active":
                for event in events:
                    self._send_or_skip(event)
            # else somebody deleted the run: it stays deleted
        self.cursor.offset += size
        self.cursor.save(self.folder)
        return True

    def _send_or_skip(self, event: Event) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._send([event])
        except MlflowException as error:
            if error.error_code not in _REFUSED:
                raise
            where = f"event {event['seq']} of {self.folder / EVENTS}"
            self.warn(f"warning: MLflow refused {where} ({reason_of(error)}); it is passed over.")

    def _found(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException

        try:
            return self.mlflow.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _send(self, events: list[Event]) -> None:
        if not events:
            return  # a damaged line
        kind = events[0]["kind"]
        if kind == "start":
            self._start(events[0])
        elif self.cursor.run_id is not None:  # else its start was lost, and there is no run
            getattr(self, f"_{kind}")(events if kind == "epoch" else events[0])

    # One method for each kind of event.

    def _start(self, event: Event) -> None:
        self.cursor.doubtful = self.cursor.key == event["key"]  # tried before, and no answer came
        self.cursor.key, self.cursor.name = event["key"], text_of(event["name"])
        self.cursor.save(self.folder)
        self.cursor.run_id = self._run(event)
        self.cursor.save(self.folder)  # before anything else can fail
        self._log(metrics_of(event, 0), event["params"])
        if event["inputs"]:
            self.mlflow.log_inputs(self.cursor.run_id, dataset_inputs(event["inputs"]))

    def _epoch(self, events: list[Event]) -> None:
        odd = [f"{key} {v} at epoch {e['step']}" for e in events for key, v in e["metrics"].items() if is_odd(v)]
        metrics = [metric for event in events for metric in metrics_of(event, event["step"])]
        self._log(metrics, tags={"nonfinite": ", ".join(odd)} if odd else {})

    def _artifact(self, event: Event) -> None:
        path = _inside(self.folder, text_of(event["file"]))
        if path is None:
            if not was_cleaned(self.folder, text_of(event["file"])):
                self.warn(f"warning: the artifact {event['file']!r} of {self.folder} is not there; it is passed over.")
            return
        folder = "/".join(part for part in text_of(event["folder"]).split("/") if part not in ("", ".", ".."))
        self.mlflow.log_artifact(self._id, str(path), folder or None)

    def _tags(self, event: Event) -> None:
        self._log([], tags=event["tags"])

    def _metrics(self, event: Event) -> None:
        self._log(metrics_of(event, 0))

    def _experiment(self, event: Event) -> None:
        describe(self.mlflow, self.target.experiment_id, event["tags"], event["paragraphs"])

    def _stop(self, event: Event) -> None:
        self._log([], tags={"state": "waiting", "reason": event["reason"]})
        self.mlflow.update_run(self._id, status="SCHEDULED")

    def _resume(self, event: Event) -> None:
        self._log([], tags={"state": "running", "reason": ""})
        self.mlflow.update_run(self._id, status="RUNNING", name=self.cursor.name)

    def _end(self, event: Event) -> None:
        state = event["state"] if event["state"] in STATUS else "FAIL"
        tags = {"state": {"FAIL": "failed"}.get(state, state.lower()), "reason": event["reason"] or None}
        self._log(metrics_of(event, 0), tags=tags)
        if state in _MARKS:
            self.mlflow.update_run(self._id, name=marked(self.cursor.name, _MARKS[state]))
        self.mlflow.set_terminated(self._id, status=STATUS[state], end_time=event["time_ms"])
        for other in (
            self._with_key(self.cursor.key) if self.cursor.doubtful else []
        ):  # a late create_run may have made one
            if other.info.run_id != self._id and other.info.lifecycle_stage == "active":
                self.mlflow.delete_run(other.info.run_id)

    # What they are made of.

    @property
    def _id(self) -> str:
        assert self.cursor.run_id is not None  # _send saw to it
        return self.cursor.run_id

    def _run(self, event: Event) -> str:
        """Returns the run with the event's key; it is made if it is not there."""
        if found := self._with_key(event["key"]):
            return str(min(found, key=lambda run: run.info.lifecycle_stage != "active").info.run_id)
        tags = {_tag(name, bool(self.parent)): value for name, value in event["tags"].items()}
        tags |= {KEY_TAG: event["key"], "state": "running"}
        if event["note"]:
            tags["mlflow.note.content"] = event["note"]
        if self.parent:
            tags["mlflow.parentRunId"] = self.parent
        run = self.mlflow.create_run(
            self.target.experiment_id,
            start_time=event["time_ms"],
            tags=dict(pairs_of(tags, MAX_TAG)),
            run_name=self.cursor.name,
        )
        return str(run.info.run_id)

    def _with_key(self, key: str) -> list[Run]:
        from mlflow.entities import ViewType

        return list(
            self.mlflow.search_runs(
                [self.target.experiment_id],
                filter_string=f"tags.`{KEY_TAG}` = '{key}'",  # hexadecimal, by events.parse
                run_view_type=ViewType.ALL,
                order_by=["attributes.start_time ASC"],
                max_results=10,
            )
        )

    def _log(
        self, metrics: list[Metric], params: Mapping[str, Any] | None = None, tags: Mapping[str, Any] | None = None
    ) -> None:
        """Logs all of it, in one batch if MLflow's limits allow it."""
        from mlflow.entities import Param, RunTag

        some_params = [Param(*pair) for pair in pairs_of(params or {}, MAX_PARAM)]
        some_tags = [RunTag(*pair) for pair in pairs_of(tags or {}, MAX_TAG)]
        while metrics or some_params or some_tags:
            self.mlflow.log_batch(self._id, metrics[:MAX_METRICS], some_params[:MAX_PAIRS], some_tags[:MAX_PAIRS])
            metrics, some_params, some_tags = metrics[MAX_METRICS:], some_params[MAX_PAIRS:], some_tags[MAX_PAIRS:]


def _tag(name: str, is_child: bool) -> str:
    return f"{HIDDEN}{name}" if is_child and name in _ENVIRONMENT else name


def marked(name: str, mark: str) -> str:
    """Returns a run's name with how it ended behind its number: "#017 pruned · conv 32-64 adamw 1.2e-3"."""
    number, space, rest = name.partition(" ")
    return f"{number} {mark} · {rest}" if number.startswith("#") and space else f"{name} · {mark}"


def _inside(folder: Path, name: str) -> Path | None:
    """Returns the file called `name` in a folder, or None if there is none, or a link leads out of the folder."""
    try:
        path = (folder / name).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, a circle of links
        return None


@contextlib.contextmanager
def _open_locked(path: Path) -> Iterator[IO[bytes] | None]:
    """Opens an events file for the one process that delivers it; yields None if another does."""
    with open(path, "r+b") as file:  # NFS locks only what is open for writing
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield file
