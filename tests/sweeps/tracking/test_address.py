from __future__ import annotations

import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.errors import TrackingError
from sweeps.tracking.address import check_reachable, public, resolve_uri, sqlite_path


def test_the_option_then_the_environment_then_the_projects_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_uri(None, tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000/")
    assert resolve_uri(None, tmp_path) == "http://tracking:5000"
    assert resolve_uri("postgresql://db/mlflow", tmp_path) == "postgresql://db/mlflow"


def test_a_relative_database_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = resolve_uri("sqlite:///runs/x.db", Path("/elsewhere"))
    assert uri == f"sqlite:///{tmp_path}/runs/x.db"
    assert sqlite_path(uri) == tmp_path / "runs" / "x.db"


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("mlruns", "must be a database or a server, but mlruns is a folder"),
        ("file:///tmp/mlruns", "must be a database or a server"),
        ("nonsense://x", "must be a database or a server, but nonsense://x is neither"),
        ("sqlite://", "must outlive the process"),
        ("sqlite:///:memory:", "must outlive the process"),
        ("sqlite:////tmp/50%25/mlflow.db", "must hold no %"),
    ],
)
def test_addresses_that_cannot_be_used(uri: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=rule):
        resolve_uri(uri, tmp_path)


def test_no_password_is_shown() -> None:
    assert public("postgresql+psycopg://ann:s3cr3t@db:5432/mlflow") == "postgresql+psycopg://ann:***@db:5432/mlflow"
    assert public("http://h?password=s3cr3t&a=1, http://ann:s3cr3t@h") == "http://h?password=***&a=1, http://ann:***@h"
    assert public("sqlite:////tmp/a@b.db") == "sqlite:////tmp/a@b.db"


class Server(http.server.BaseHTTPRequestHandler):
    answer = (200, b"OK")

    def do_GET(self) -> None:
        code, body = self.answer
        if "Authorization" not in self.headers and code == 200 and body == b"OK:ann":
            code = 401
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_server_that_answers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "answer", (200, b"OK"))
    check_reachable(f"http://{server}")
    monkeypatch.setattr(Server, "answer", (200, b"OK:ann"))
    check_reachable(f"http://ann:pw@{server}")
    with pytest.raises(TrackingError, match="HTTP 401; set MLFLOW_TRACKING_USERNAME"):
        check_reachable(f"http://{server}")


@pytest.mark.parametrize(("code", "body", "rule"), [(500, b"", "gave HTTP 500"), (200, b"<html>", "something else")])
def test_a_server_that_is_not_mlflow(
    server: str, code: int, body: bytes, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "answer", (code, body))
    with pytest.raises(TrackingError, match=rule):
        check_reachable(f"http://{server}")


def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match="must answer") as caught:
            check_reachable(f"http://ann:s3cr3t@127.0.0.1:{port}")
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_can_be_made(tmp_path: Path) -> None:
    check_reachable(f"sqlite:///{tmp_path}/deep/mlflow.db")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_database_where_there_can_be_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="must be writable, but .*mlflow.db is not"):
        check_reachable(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, but text")
    with pytest.raises(TrackingError, match="must be an SQLite database, but .*; move it away"):
        check_reachable(f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + os.urandom(4000))
    with pytest.raises(TrackingError, match="must be whole"):
        check_reachable(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_that_was_left_half_made(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "mlflow.db")
    for table in ("alembic_version", "experiments", "_alembic_tmp_latest_metrics"):
        database.execute(f"CREATE TABLE {table} (x)")
    database.close()
    with pytest.raises(TrackingError, match=r"was left half made; move it away \(mlflow.db → mlflow.db.old\)"):
        check_reachable(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_that_somebody_locks_is_there(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    database = sqlite3.connect(path)
    for table in ("alembic_version", "experiments"):
        database.execute(f"CREATE TABLE {table} (x)")
    database.execute("BEGIN EXCLUSIVE")
    check_reachable(f"sqlite:///{path}")
    database.close()


def test_mlflow_is_not_imported() -> None:
    code = "import sys; from sweeps.tracking import environment, shipper, store, ui; print('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
