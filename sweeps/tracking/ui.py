"""Opens MLflow's own UI on a tracking store: on loopback, on a free port, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.tracking import store, table
from sweeps.tracking.address import check_reachable, is_server, public, sqlite_path

__all__ = ["serve"]

_PORT = 5000  # MLflow's own
_START_S = 90.0  # a busy machine needs ten seconds
_STOP_S = 5.0
_LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def serve(uri: str, root: Path, port: int | None = None, open_browser: bool = False) -> None:
    """Shows the UI's addresses on stdout, and serves it until Ctrl-C or SIGTERM.

    Args:
        uri: the tracking store. If it is a server, its own UI is shown, and nothing is served.
        root: the project.
        port: the port; by default 5000, or any other if that is taken.
        open_browser: whether to open the newest study in the browser.

    Raises:
        TrackingError: there is no store yet, it cannot be used, the port is taken, or the server does not start.
    """
    check_reachable(uri)
    if is_server(uri):
        _show(public(uri), open_browser)
        return
    path = sqlite_path(uri)
    if path is not None and (not path.exists() or not path.stat().st_size):
        raise TrackingError(f"there must be runs to show, but {path} is not there yet; run `make sweep` first.")
    store.prepare(uri, root)  # so that what does not open is one line here, and not a log of the server's
    number = _free_port(port)
    address = f"http://127.0.0.1:{number}"
    log = Paths(root).mlruns / "ui.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as file, _until_told() as told, _server(uri, root, number, file) as process:
        _wait_until_healthy(address, process, log, told)
        if not told:
            _show(address, open_browser)
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
        while not told and process.poll() is None:
            time.sleep(0.1)
        if not told:
            raise TrackingError(f"the UI's server must keep running, but it ended; its last words are in {log}.")


def _show(address: str, open_browser: bool) -> None:
    studies = _experiments(address)
    print(f"MLflow  {address}", flush=True)
    width = max((len(name) for name, _ in studies), default=0)
    for name, number in studies:
        print(f"{name:{width}}  {table.address(address, number)}", flush=True)
    if open_browser:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(table.address(address, studies[0][1]) if studies else address)


def _experiments(address: str) -> list[tuple[str, str]]:
    """Returns names and ids of our experiments, the last used first. None if the server wants a password."""
    body = json.dumps({"max_results": 1000, "order_by": ["last_update_time DESC"]}).encode()
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/experiments/search", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with _LOOPBACK.open(request, timeout=20) as answer:
            found: list[dict[str, Any]] = json.load(answer).get("experiments", [])
    except (OSError, ValueError):
        return []
    return [(entry["name"], entry["experiment_id"]) for entry in found if entry["name"].startswith("sweeps-")]


def _free_port(wanted: int | None) -> int:
    for number in (wanted,) if wanted is not None else (_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            if number and _answers(number):
                continue  # on macOS another program may hold *:5000 and leave 127.0.0.1:5000 to be bound
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))
            return int(probe.getsockname()[1])
    raise TrackingError(f"the port must be free, but {wanted} is taken; name another, or none to take any.")


def _answers(number: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((host, number)) == 0:
                return True
    return False


@contextlib.contextmanager
def _server(uri: str, root: Path, port: int, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    store.quiet()
    place = store.artifact_root(uri, root) or Paths(root).mlruns / "artifacts"
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: it may hold a password, which `ps` would show
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes instead of ten
        "PYTHONSAFEPATH": "1",  # nothing that lies in the current folder shadows a module
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--no-serve-artifacts", "--default-artifact-root", place.as_uri()]
    command += ["--allowed-hosts", "localhost:*,127.0.0.1:*"]
    # Its own session: Ctrl-C is ours, and the server and its worker are ended together.
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)


@contextlib.contextmanager
def _until_told() -> Iterator[list[int]]:
    """Yields a list that gets an entry when this process is told to end."""
    told: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda which, _: told.append(which)) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path, told: list[int]) -> None:
    deadline = time.monotonic() + _START_S
    while not told:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TrackingError(f"the UI's server must start, but it did not; its last words are in {log}.")
        with contextlib.suppress(OSError), _LOOPBACK.open(f"{address}/health", timeout=2) as answer:
            if answer.read(2) == b"OK":
                return
        time.sleep(0.2)
