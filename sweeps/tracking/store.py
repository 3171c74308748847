"""MLflow's store: made whole or not at all, opened quietly, with one experiment a study.

MLflow is imported by the functions that need it (a second of CPU time), never by importing this module.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import sys
import tempfile
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.tracking.address import check_reachable, is_server, public, reason_of, resolve_uri, sqlite_path
from sweeps.tracking.notes import merged
from sweeps.tracking.table import view_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

__all__ = [
    "TRAIN_EXPERIMENT",
    "ExperimentRef",
    "check_reachable",
    "client",
    "describe",
    "disconnect",
    "experiment",
    "experiment_name",
    "is_empty",
    "make_experiment",
    "prepare",
    "public",
    "quiet",
    "reference",
    "resolve_uri",
    "without_warnings",
]

TRAIN_EXPERIMENT = "sweeps-train"  # what `train` trains, outside a study

_NOTE = "mlflow.note.content"
_KIND = "custom_model_development"  # the plain training view; MLflow's default is one for language models

_PASSING = ("database is locked", "database or disk is full", "disk I/O error")  # what SQLite says of no lasting fault

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong reaches the user as one line of ours
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is for results
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the shipper re-sends; a repeated create_run would make two runs
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # what is registered here needs none
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True, slots=True)
class ExperimentRef:
    """An experiment in a store."""

    experiment_id: str
    identity: str  # not the same in another store, or in this one after it was made anew


def experiment_name(study: str) -> str:
    """Returns the name of a study's experiment, which is that of its registered model too."""
    return f"sweeps-{study}"


def quiet() -> None:
    """Sets up MLflow, which must not be imported yet: no telemetry, nothing on stdout, no log of its own on stderr."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def client(uri: str) -> MlflowClient:
    """Returns a client of the store, which must be prepared."""
    quiet()
    with without_warnings():
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def disconnect(uri: str) -> None:
    """Closes the connections that MLflow keeps to a database. It makes new ones when it needs them."""
    module = sys.modules.get("mlflow.store.tracking.sqlalchemy_store")
    engine = module.SqlAlchemyStore._engine_map.get(uri) if module else None
    if engine is not None:
        engine.dispose()


def prepare(uri: str, root: Path) -> None:
    """Makes the database if it is not there, and sees that it opens.

    A kill in the middle of MLflow's migrations leaves a database that never opens again, and so do two processes that
    migrate at once. So a SQLite database is made in a temporary file, under a lock, and renamed into its place.

    Raises:
        TrackingError: what is there cannot be opened.
    """
    if is_server(uri):
        return
    path = sqlite_path(uri)
    try:
        with contextlib.ExitStack() as stack:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(path.parent / f".{path.name}.lock"))
                for left in path.parent.glob(f".{path.name}.*.tmp*"):  # by one that was killed: we hold the lock
                    left.unlink(missing_ok=True)
                if is_empty(path):
                    _make(path, artifact_root(uri, root))
                    return
            with without_warnings():
                client(uri).search_experiments(max_results=1)
    except OSError as error:
        raise TrackingError(
            f"the tracking store must be writable, but {public(uri)} is not ({reason_of(error, uri)}); use another "
            "--tracking-uri."
        ) from error
    except Exception as error:  # SQLAlchemy's, Alembic's, MLflow's: all mean that it does not open
        raise _does_not_open(uri, path, error) from error


def experiment(mlflow: MlflowClient, uri: str, root: Path, name: str, note: str = "") -> ExperimentRef:
    """Returns the experiment called `name`, made if it is not there.

    Args:
        mlflow: the store's client.
        uri: the store.
        root: the project.
        name: any text: the artifacts' folder is named by it, quoted.
        note: Markdown that MLflow shows above the runs.

    Raises:
        TrackingError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    tags = {"mlflow.experimentKind": _KIND, **view_tags()} | ({_NOTE: note} if note else {})
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        place = artifact_root(uri, root)
        location = None if place is None else (place / _quoted(name)).as_uri()
        try:
            mlflow.create_experiment(name, artifact_location=location, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another process, just now
                raise
        found = mlflow.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        number = found.experiment_id if found else "?"
        raise TrackingError(
            f"the experiment {name!r} must not be deleted, but it is; bring it back with "
            f"`mlflow experiments restore --experiment-id {number}`, or name another study."
        )
    for key, value in tags.items():
        if key not in found.tags:  # what the study's own run has told since stays
            with contextlib.suppress(MlflowException):  # two processes that set one at once are one too many for MLflow
                mlflow.set_experiment_tag(found.experiment_id, key, value)
    return reference(found)


def describe(mlflow: MlflowClient, experiment_id: str, tags: Mapping[str, str], paragraphs: Mapping[str, str]) -> None:
    """Sets tags of an experiment and replaces parts of the note above its runs; what others wrote there stays.

    Args:
        mlflow: the store's client.
        experiment_id: the experiment's.
        tags: by name.
        paragraphs: as `notes.merged` takes them.
    """
    found = dict(mlflow.get_experiment(experiment_id).tags)
    note = merged(found.get(_NOTE, ""), paragraphs, experiment_id)
    for key, value in {**tags, _NOTE: note}.items():
        if found.get(key) != value:
            mlflow.set_experiment_tag(experiment_id, key, value)


def make_experiment(uri: str, root: Path, name: str, note: str) -> None:
    """Makes the store and an experiment in it, or sees that they are there.

    Raises:
        TrackingError: the store cannot be used as `uri` says.
    """
    prepare(uri, root)
    try:
        with without_warnings():
            experiment(client(uri), uri, root, name, note)
    except TrackingError:
        raise
    except Exception as error:  # MLflow's, or that of any layer below it
        reason, remedy = reason_of(error, uri), "name another store with --tracking-uri"
        if "Invalid Host header" in reason:
            reason, remedy = "HTTP 403, invalid host header", "start it with that name among --allowed-hosts"
        elif "error code 401" in reason or "error code 403" in reason:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        raise TrackingError(
            f"the tracking store must take an experiment, but {public(uri)} did not ({reason}); {remedy}."
        ) from error


def reference(found: Experiment) -> ExperimentRef:
    """Returns what is kept of an experiment."""
    return ExperimentRef(found.experiment_id, f"{found.name}/{found.experiment_id}/{found.creation_time}")


def artifact_root(uri: str, root: Path) -> Path | None:
    """Returns the folder of a store's artifacts: beside its database; None where a server decides."""
    if is_server(uri) or "databricks" in uri:
        return None
    path = sqlite_path(uri)
    return (path.parent if path else Paths(root).mlruns).resolve() / "artifacts"


def _make(path: Path, artifacts: Path | None) -> None:
    """Lets MLflow make a database in a temporary file, and renames it into place."""
    quiet()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    try:
        with without_warnings():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            place = artifacts or path.parent / "artifacts"
            store = SqlAlchemyStore(f"sqlite:///{temporary}", place.as_uri())  # type: ignore[no-untyped-call]
            store.engine.dispose()
            SqlAlchemyStore._engine_map.pop(f"sqlite:///{temporary}", None)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives 0600, which a shared folder cannot use
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def is_empty(path: Path) -> bool:
    """Returns whether there is no database here yet: no file, an empty one, or one without a table."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20.0)) as database:
            return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.Error:
        return False


def _does_not_open(uri: str, path: Path | None, error: Exception) -> TrackingError:
    reason = reason_of(error, uri)
    if "out-of-date database schema" in reason or "Can't locate revision" in reason:
        return TrackingError(
            f"the tracking database must have this MLflow's schema, but {public(uri)} has another version's; "
            f"back it up and run `mlflow db upgrade {public(uri)}`, or use the MLflow that made it."
        )
    if path is not None and any(text in reason for text in _PASSING):
        return TrackingError(
            f"the tracking database must be free to use, but {public(uri)} is not ({reason}); see which process holds "
            "it, or whether its disk is full."
        )
    where = f"move {path} away" if path else "look at the database server, or name another store with --tracking-uri,"
    return TrackingError(f"the tracking store must open, but {public(uri)} does not ({reason}); {where} and run again.")


def _quoted(name: str) -> str:
    """Returns a name that is one part of a path, whatever is in `name`."""
    quoted = urllib.parse.quote(name, safe=" ")
    return quoted.replace(".", "%2E") if set(name) <= {"."} else quoted


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Keeps the deprecation warnings of MLflow's own imports and migrations from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
