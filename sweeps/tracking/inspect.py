"""What is looked at, and mended, of a study's runs in MLflow: by `doctor`, and by whoever else wants to know."""

from __future__ import annotations

import contextlib
import os
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistnn.files import atomic_write
from sweeps.errors import TrackingError
from sweeps.tracking import store
from sweeps.tracking.address import check_reachable, is_server, public, reason_of, sqlite_path
from sweeps.tracking.events import Event
from sweeps.tracking.runs import KEY_TAG, Target, resend

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunStore", "SeenRun", "local_path", "open_runs"]

_PAGE = 500  # runs, with all that they hold, in memory at once
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run as MLflow has it.

    Attributes:
        run_id: its id.
        name: as it is shown.
        status: MLflow's.
        is_deleted: somebody deleted it, and may still restore it.
        key: what its start event called it, or "".
        trial: its trial's number, as the tag says it, or "".
        parent: the id of its parent run, or "".
        start_ms: when it began.
        place: the address of its artifacts.
        metrics: the latest of those that were asked for.
    """

    run_id: str
    name: str
    status: str
    is_deleted: bool
    key: str
    trial: str
    parent: str
    start_ms: int
    place: str
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, run: Run, metrics: Collection[str]) -> SeenRun:
        """Returns what is kept of MLflow's run."""
        info, tags, known = run.info, run.data.tags, run.data.metrics
        return cls(
            run_id=info.run_id,
            name=info.run_name or "",
            status=info.status,
            is_deleted=info.lifecycle_stage != "active",
            key=tags.get(KEY_TAG, ""),
            trial=tags.get("trial", ""),
            parent=tags.get(_PARENT, ""),
            start_ms=int(info.start_time or 0),
            place=info.artifact_uri or "",
            metrics={name: known[name] for name in metrics if name in known},
        )


@dataclass(frozen=True, slots=True)
class RunStore:
    """The runs of one experiment. Its methods raise TrackingError where the store fails."""

    mlflow: MlflowClient
    uri: str
    target: Target

    @property
    def identity(self) -> str:
        """Names the experiment in this store, as cursors do."""
        return self.target.identity

    def runs(self, metrics: Collection[str] = ()) -> Iterator[SeenRun]:
        """Yields all runs, deleted ones as well, with the latest values of some metrics."""
        from mlflow.entities import ViewType

        token = None
        while True:
            with self._speaking():
                page = self.mlflow.search_runs(
                    [self.target.experiment_id], run_view_type=ViewType.ALL, max_results=_PAGE, page_token=token
                )
            for run in page:
                yield SeenRun.of(run, metrics)
            token = page.token
            if not token:
                return

    def times_of(self, run_id: str, metric: str) -> dict[int, int]:
        """Returns when each step of a metric was measured, in milliseconds."""
        with self._speaking():
            return {point.step: point.timestamp for point in self.mlflow.get_metric_history(run_id, metric)}

    def resend(self, folder: Path, event: Event, warn: Callable[[str], None]) -> None:
        """Sends an event of a run's folder again."""
        with self._speaking():
            resend(self.target, folder, event, warn)

    def set_metrics(self, run_id: str, values: Mapping[str, float], time_ms: int) -> None:
        """Makes these the latest values of results, which stand at step 0."""
        from mlflow.entities import Metric

        with self._speaking():
            times = [p.timestamp for name in values for p in self.mlflow.get_metric_history(run_id, name)]
            now = max([time_ms, *(each + 1 for each in times)])
            self.mlflow.log_batch(run_id, [Metric(name, value, now, 0) for name, value in values.items()])

    def end(self, run_id: str, state: str, reason: str) -> None:
        """Ends a run that nobody will go on with; `state` is what it shows."""
        with self._speaking():
            self.mlflow.set_tag(run_id, "state", state)
            self.mlflow.set_tag(run_id, "reason", reason)
            self.mlflow.set_terminated(run_id, status="KILLED")

    def delete(self, run_id: str) -> None:
        """Marks a run as deleted; MLflow keeps it, and can restore it."""
        with self._speaking():
            self.mlflow.delete_run(run_id)

    def artifacts(self, run: SeenRun) -> dict[str, int]:
        """Returns the files at the top of a run's artifacts, and their sizes in bytes."""
        folder = local_path(run.place)
        if folder is not None:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
            return {}
        with self._speaking():
            found = self.mlflow.list_artifacts(run.run_id)
        return {each.path: int(each.file_size or 0) for each in found if not each.is_dir}

    def fetch(self, run: SeenRun, name: str, into: Path) -> Path:
        """Returns a readable copy of an artifact: the one in the store where that is a folder, else one in `into`."""
        folder = local_path(run.place)
        if folder is not None:
            return folder / name
        with self._speaking():
            return Path(self.mlflow.download_artifacts(run.run_id, name, str(into)))

    def put(self, run: SeenRun, file: Path) -> None:
        """Puts a file in the place of the artifact of its name.

        Raises:
            OutputError: it cannot be written.
        """
        folder = local_path(run.place)
        if folder is None:
            with self._speaking():
                self.mlflow.log_artifact(run.run_id, str(file))
            return
        with open(file, "rb") as source, atomic_write(folder / file.name) as copy:
            while chunk := source.read(1 << 20):
                copy.write(chunk)

    @contextlib.contextmanager
    def _speaking(self) -> Iterator[None]:
        """Turns whatever MLflow, SQLAlchemy or requests raise into one line of ours."""
        try:
            with store.without_warnings():
                yield
        except Exception as error:
            raise _away(self.uri, error) from error


def open_runs(uri: str, name: str) -> RunStore | None:
    """Opens the runs of an experiment. Nothing is made or changed by that.

    Args:
        uri: the tracking store.
        name: the experiment's name.

    Returns:
        The runs; None if there is no such store yet, or no such experiment in it.

    Raises:
        TrackingError: it is away, or somebody deleted the experiment.
    """
    path = sqlite_path(uri)
    if path is not None and (not path.exists() or store.is_empty(path)):  # MLflow would fill it
        return None
    if is_server(uri):
        check_reachable(uri)
    try:
        with store.without_warnings():
            if path is None and not is_server(uri) and not _has_tables(uri):
                return None
            mlflow = store.client(uri)
            found = mlflow.get_experiment_by_name(name)
    except Exception as error:
        raise _away(uri, error) from error
    if found is None:
        return None
    known = store.reference(found)
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {name!r} must not be deleted, but it is; bring it back with "
            f"`mlflow experiments restore --experiment-id {known.experiment_id}`."
        )
    return RunStore(mlflow, uri, Target(mlflow, known.experiment_id, known.identity))


def local_path(place: str) -> Path | None:
    """Returns the folder that an artifact address means on this machine, or None if it means another thing."""
    parts = urllib.parse.urlsplit(place)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(urllib.parse.unquote(parts.path))
    return Path(place) if place.startswith("/") else None


def _has_tables(uri: str) -> bool:
    """Returns whether a database has been set up for MLflow."""
    import sqlalchemy

    if uri.split("://")[0].partition("+")[0] not in ("postgresql", "mysql", "mssql"):
        return True
    engine: Any = sqlalchemy.create_engine(uri)
    try:
        return bool(sqlalchemy.inspect(engine).has_table("experiments"))
    finally:
        engine.dispose()


def _away(uri: str, error: Exception) -> TrackingError:
    if isinstance(error, TrackingError):
        return error
    return TrackingError(f"the tracking store must answer, but {public(uri)} does not ({reason_of(error, uri)}).")
