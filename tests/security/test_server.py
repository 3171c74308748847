"""The UI's server: who may ask it for what, where it listens, and what it tells others of itself."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.tracking import store, ui
from tests.stores import give_database
from tests.sweeps.command import ROOT

NAME = "sweeps.example"
# What would undo the server's checks, as somebody may have set it for another server.
HOSTILE = {
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*",
    "MLFLOW_HOST": "0.0.0.0",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    root = tmp_path_factory.mktemp("served")
    (root / "studies").mkdir()
    give_database(root, database)
    return root


@pytest.fixture(scope="module")
def port(project: Path) -> Iterator[int]:
    """The port of a UI that was told to listen everywhere, and by which name it is called."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "sweeps", "ui", "--host", "0.0.0.0", "--allowed-hosts", NAME]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=kept | HOSTILE | {"SWEEPS_HOME": str(project)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert re.search(r"^warning: whoever reaches 0\.0\.0\.0, port ", said, re.MULTILINE)


def ask(port: int, host: str, *, method: str = "GET", origin: str | None = None) -> int:
    """Returns the status of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = json.dumps({"max_results": 1}) if method == "POST" else None
    headers = {"Host": host, "Content-Type": "application/json"} | ({"Origin": origin} if origin else {})
    path = "/api/2.0/mlflow/experiments/search" if method == "POST" else "/"
    connection.request(method, path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.slow
def test_only_known_names_are_answered(port: int) -> None:
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"{NAME}:{port}", NAME):
        assert ask(port, host) == 200, host
    for host in (
        "evil.com",
        f"evil.com:{port}",
        f"10.evil.com:{port}",
        f"{NAME}.evil.com",
        f"evil-{NAME}",
        "192.168.1.4:80",
    ):
        assert ask(port, host) == 403, host


@pytest.mark.slow
def test_pages_from_elsewhere_can_ask_for_nothing(port: int) -> None:
    here = f"127.0.0.1:{port}"
    assert ask(port, here, method="POST") == 200
    assert ask(port, here, method="POST", origin=f"http://{here}") == 200
    for origin in ("http://evil.com", "https://evil.com", f"http://localhost.evil.com:{port}", "null"):
        assert ask(port, here, method="POST", origin=origin) == 403, origin


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc")
def test_no_process_of_it_sends_telemetry_or_shows_the_store(port: int, project: Path) -> None:
    found = 0
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
            command = (entry / "cmdline").read_bytes() if environment else b""
        except OSError:
            continue
        if f"SWEEPS_HOME={project}".encode() not in environment or b"mlflow" not in command:
            continue
        found += 1
        assert b"MLFLOW_DISABLE_TELEMETRY=true" in environment
        assert b"MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false" in environment
        assert b"sqlite" not in command
    assert found >= 1


def test_telemetry_is_off_wherever_mlflow_is_imported() -> None:
    """By the one function that sets MLflow up; every door to MLflow calls it first."""
    code = (
        "from sweeps.tracking import store; store.quiet()\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "import mlflow; print(is_telemetry_disabled(), get_telemetry_client())"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "CI", "PYTEST"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=kept, cwd=ROOT, check=True)
    assert done.stdout == "True None\n"


def test_imports_of_mlflow_stand_in_functions_of_the_tracking_only() -> None:
    lines = subprocess.run(
        ["grep", "-rnE", r"^(import|from) mlflow", "sweeps", "--include=*.py"], capture_output=True, text=True, cwd=ROOT
    ).stdout.splitlines()
    # The one file that MLflow runs, where and when it will.
    assert [line for line in lines if "champion_model.py" not in line] == []


@pytest.mark.parametrize("host", ["*", "a b", "evil.com:80", "a,b", "http://x", "", "-x", "a/b", "a" * 300])
def test_hosts_that_are_none(host: str, tmp_path: Path) -> None:
    for options in ({"host": host}, {"names": [host]}):
        with pytest.raises(TrackingError, match="must be a name or an address"):
            ui.serve(store.resolve_uri(None, tmp_path), tmp_path, **options)  # type: ignore[arg-type]


def test_listening_everywhere_wants_a_name(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(TrackingError, match="add --allowed-hosts NAME"):
            ui.serve(store.resolve_uri(None, tmp_path), tmp_path, host=host)


def test_a_host_that_is_another_machines(project: Path) -> None:
    with pytest.raises(TrackingError, match="--host must be this machine's, but 192.0.2.7 is not"):
        ui.serve(store.resolve_uri(None, project), project, host="192.0.2.7")
    assert not (Paths(project).mlruns / "nothing").exists()


def test_what_is_allowed() -> None:
    assert ui._allowed("127.0.0.1", []) == ["localhost:*", "127.0.0.1:*"]
    assert ui._allowed("10.0.0.5", ["mlflow"])[2:] == ["10.0.0.5:*", "10.0.0.5", "mlflow:*", "mlflow"]
    assert "[[]::1]:*" in ui._allowed("::1", [])
