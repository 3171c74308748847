"""Opens MLflow's own UI on a tracking store: on loopback unless told, on a free port, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

from sweeps.browser import open_pages
from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.tracking import store, table
from sweeps.tracking.address import check_reachable, is_server, public, sqlite_path

__all__ = ["serve"]

_PORT = 5000  # MLflow's own
_START_S = 90.0  # a busy machine needs ten seconds
_STOP_S = 5.0
_LOCAL = "127.0.0.1"
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9A-Fa-f:]{2,45}")
_EVERYWHERE = ("0.0.0.0", "::")
# What would undo the checks that we ask the server for.
_UNSAFE = (
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
)
_MOST_BYTES = 16 << 20  # of a server's answer
_LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def serve(
    uri: str,
    root: Path,
    port: int | None = None,
    open_browser: bool = False,
    *,
    host: str = _LOCAL,
    names: Sequence[str] = (),
    as_json: bool = False,
) -> None:
    """Shows the UI's addresses on stdout, and serves it until Ctrl-C or SIGTERM.

    Args:
        uri: the tracking store. If it is a server, its own UI is shown, and nothing is served.
        root: the project.
        port: the port; by default 5000, or any other if that is taken.
        open_browser: whether to open both views of the newest study in the browser.
        host: the address to listen on. Beyond loopback whoever reaches it can change and delete runs.
        names: by which other names browsers may ask for this server; each other name is refused, for a page from
            elsewhere can give itself one that leads here.
        as_json: whether the addresses are shown as JSON, on one line.

    Raises:
        TrackingError: there is no store yet, it cannot be used, the host or the port cannot be listened on, or the
            server does not start.
    """
    allowed = _allowed(host, names)
    check_reachable(uri)
    if is_server(uri):
        _show(public(uri), open_browser, as_json)
        return
    path = sqlite_path(uri)
    if path is not None and (not path.exists() or not path.stat().st_size):
        raise TrackingError(f"there must be runs to show, but {path} is not there yet; run `make sweep` first.")
    store.prepare(uri, root)  # so that what does not open is one line here, and not a log of the server's
    number = _free_port(port, host)
    if port is None and number != _PORT:
        print(f"{_holder_of(_PORT)}; this one takes another port.", file=sys.stderr, flush=True)
    reached = _LOCAL if host in _EVERYWHERE else host
    address = f"http://[{reached}]:{number}" if ":" in reached else f"http://{reached}:{number}"
    if not _is_loopback(host):
        line = f"warning: whoever reaches {host}, port {number}, can change and delete runs: MLflow asks no password."
        print(line, file=sys.stderr, flush=True)
    log = Paths(root).mlruns / "ui.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as file, _until_told() as told, _server(uri, root, host, number, allowed, file) as process:
        _wait_until_healthy(address, process, log, told)
        if not told:
            _show(address, open_browser, as_json)
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
        while not told and process.poll() is None:
            time.sleep(0.1)
        if not told:
            raise TrackingError(f"the UI's server must keep running, but it ended; its last words are in {log}.")


def _show(address: str, open_browser: bool, as_json: bool) -> None:
    studies = _experiments(address)
    if as_json:
        listed = [
            {
                "name": name,
                "url": table.address(address, number),
                "charts": table.address(address, number, table.CHARTS),
            }
            for name, number in studies
        ]
        print(json.dumps({"url": address, "experiments": listed}), flush=True)
    else:
        _print(address, studies)
    if open_browser:
        newest = [
            table.address(address, number, key) for _, number in studies[:1] for key in (table.CHARTS, table.TABLE)
        ]
        open_pages(*(newest or [address]))


def _print(address: str, studies: Sequence[tuple[str, str]]) -> None:
    print(f"MLflow  {address}", flush=True)
    width = max((len(name) for name, _ in studies), default=0)
    for name, number in studies:
        print(f"{name:{width}}  table   {table.address(address, number, table.TABLE)}", flush=True)
        print(f"{'':{width}}  charts  {table.address(address, number, table.CHARTS)}", flush=True)


def _experiments(address: str) -> list[tuple[str, str]]:
    """Returns names and ids of our experiments: the study that was used last first, single nets last.

    None are known of a server that wants a password.
    """
    body = json.dumps({"max_results": 1000, "order_by": ["last_update_time DESC"]}).encode()
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/experiments/search", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with _LOOPBACK.open(request, timeout=20) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read(_MOST_BYTES)).get("experiments", [])
        named = [(str(entry["name"]), str(entry["experiment_id"])) for entry in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    ours = [(name, number) for name, number in named if name.startswith("sweeps-") and name.isprintable()]
    return sorted(ours, key=lambda each: each[0] == store.TRAIN_EXPERIMENT)


def _allowed(host: str, names: Sequence[str]) -> list[str]:
    """Returns the patterns of hosts that the server may be asked for.

    Raises:
        TrackingError: a name is none, or it is not said by which name others may ask for this machine.
    """
    for name in (host, *names):
        if not _HOST.fullmatch(name):
            raise TrackingError(f"a host must be a name or an address, but got {name!r:.60}; give it without its port.")
    if host in _EVERYWHERE and not names:
        raise TrackingError(
            f"a server for other machines must know what they call it, but got --host {host} alone; add "
            "--allowed-hosts NAME."
        )
    known = [name for name in (host, *names) if name not in _EVERYWHERE and not _is_loopback(name)]
    bracketed = [f"[[]{name}]" if ":" in name else name for name in known]  # as the patterns want them
    local = ["localhost:*", f"{_LOCAL}:*", *(["[[]::1]:*"] if host == "::1" else [])]
    return local + [form for name in bracketed for form in (f"{name}:*", name)]


def _is_loopback(host: str) -> bool:
    return host in (_LOCAL, "::1", "localhost")


def _free_port(wanted: int | None, host: str = _LOCAL) -> int:
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.bind((host, 0))
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrackingError(f"--host must be this machine's, but {host} is not ({reason}); name another.") from None
    for number in (wanted,) if wanted is not None else (_PORT, 0):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            if number and _answers(number):
                continue  # on macOS another program may hold *:5000 and leave 127.0.0.1:5000 to be bound
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
            return int(probe.getsockname()[1])
    raise TrackingError(f"the port must be free, but {wanted} is taken; name another, or none to take any.")


def _holder_of(number: int) -> str:
    """Returns who has a port, as a sentence without its end: a UI of MLflow's, such as this verb's, or nobody known."""
    address = f"http://{_LOCAL}:{number}"
    with contextlib.suppress(OSError, HTTPException), _LOOPBACK.open(f"{address}/health", timeout=2) as answer:
        if answer.read(3) == b"OK":
            return f"an MLflow UI is open already, at {address}"
    return f"port {number} is taken by another program"


def _answers(number: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((host, number)) == 0:
                return True
    return False


@contextlib.contextmanager
def _server(
    uri: str, root: Path, host: str, port: int, allowed: Sequence[str], log: Any
) -> Iterator[subprocess.Popen[bytes]]:
    store.quiet()
    place = store.artifact_root(uri, root) or Paths(root).mlruns / "artifacts"
    environment = {name: value for name, value in os.environ.items() if name not in _UNSAFE} | {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument: it may hold a password, which `ps` would show
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # two processes instead of ten
        "PYTHONSAFEPATH": "1",  # nothing that lies in the current folder shadows a module
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", "1", "--no-serve-artifacts", "--default-artifact-root", place.as_uri()]
    command += ["--allowed-hosts", ",".join(allowed)]
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
