"""A database as a study's storage: met again after it was away, and told who is alive."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.storages._rdb.storage import _create_scoped_session
from sqlalchemy.exc import InterfaceError, OperationalError

from sweeps.study.liveness import GRACE, HEARTBEAT_S
from sweeps.tracking.address import sqlite_path

__all__ = ["PatientStorage", "open_database", "read_database"]

_PATIENCE_S = 90.0  # a database that restarts, or is locked by a backup, comes back within that
_PAUSES_S = (0.1, 5.0)

#: What workers and their parents ask of a storage.
_CALLS = (
    "_create_new_trial",
    "_get_stale_trial_ids",
    "_get_trials",
    "_set_trial_param",
    "get_study_id_from_name",
    "get_study_user_attrs",
    "get_trial",
    "record_heartbeat",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
)


def open_database(url: str, heartbeat_s: int = HEARTBEAT_S) -> RDBStorage:
    """Opens a storage that waits for its database where it is away for moments, and keeps heartbeats.

    Args:
        url: SQLAlchemy's.
        heartbeat_s: seconds between two heartbeats of a worker; three missed ones mean that it is dead.
    """
    engine: dict[str, Any] = {"pool_pre_ping": True}  # a connection that was cut is made anew
    if url.startswith("sqlite"):
        engine["connect_args"] = {"timeout": 60}  # workers wait for each other's writes
    else:
        engine |= {"pool_size": 2}  # a worker's own and its heartbeat's: hundreds of workers share a server
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientStorage(
            url, engine_kwargs=engine, heartbeat_interval=heartbeat_s, grace_period=GRACE * heartbeat_s
        )


def read_database(url: str) -> RDBStorage:
    """Opens a storage that is there already, over connections that cannot write.

    Args:
        url: SQLAlchemy's.
    """
    path = sqlite_path(url)
    if path is not None:
        url = f"sqlite:///{path.absolute().as_uri()}?mode=ro&uri=true"
    engine: dict[str, Any] = {"execution_options": {"postgresql_readonly": True}, "pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientStorage(
            url,
            engine_kwargs=engine,
            skip_table_creation=True,
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE * HEARTBEAT_S,
        )


class PatientStorage(RDBStorage):
    """Optuna's storage, whose calls are made again for a while where the database does not answer.

    A call whose answer was lost may be made twice. Each then says the same again, but for a new trial: of two
    successors `recovery` takes one back, and an empty trial that stays behind is ended there too.
    """

    def has_heartbeat(self, trial_id: int) -> bool:
        """Says whether a worker ever gave a sign of life for a trial."""
        with _create_scoped_session(self.scoped_session) as session:
            return TrialHeartbeatModel.where_trial_id(trial_id, session) is not None


def _patient(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def patient(storage: RDBStorage, *arguments: Any, **named: Any) -> Any:
        deadline, pause = time.monotonic() + _PATIENCE_S, _PAUSES_S[0]
        while True:
            try:
                return call(storage, *arguments, **named)
            except (StorageInternalError, OperationalError, InterfaceError) as error:
                if not _may_pass(error) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES_S[1])

    return patient


def _may_pass(error: BaseException) -> bool:
    """Says whether it is the database that does not answer, rather than what it was asked."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, OperationalError | InterfaceError)


for _name in _CALLS:
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))
