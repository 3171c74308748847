from __future__ import annotations

import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sweeps.errors import TrackingError
from sweeps.tracking import store, table, ui
from tests.sweeps.tracking.projects import EXPERIMENT, Project

SERVE = (
    "import sys, pathlib; from sweeps.tracking import store, ui\n"
    "root = pathlib.Path(sys.argv[1]); port = int(sys.argv[2]) or None\n"
    "ui.serve(store.resolve_uri(None, root), root, port, True, as_json=len(sys.argv) > 3)"
)


class Serving:
    """`ui.serve` in a process of its own."""

    def __init__(self, root: Path, port: int = 0, *more: str) -> None:
        browser = root / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" >> {shlex.quote(str(root / "opened"))}\n')
        browser.chmod(0o755)
        self.opened = root / "opened"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(root), str(port), *more],
            env=os.environ | {"BROWSER": f"{shlex.quote(str(browser))} %s"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def read(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        while len(self.lines) < count and (line := self.process.stdout.readline()):
            self.lines.append(line.rstrip("\n"))
        return self.lines

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        _, error = self.process.communicate(timeout=30)
        return self.process.returncode, error


@pytest.fixture
def serving(project: Project, request: pytest.FixtureRequest) -> Iterator[Serving]:
    with project.log(1) as log:
        log.start("#001 conv", {"a": 1}, {})
        (log.folder / "history.csv").write_text("epoch\n1\n")
        log.artifact("history.csv")
        log.end("COMPLETE", metrics={"best_val_loss": 0.5})
    assert project.shipper().drain() == 0
    served = Serving(project.root, 0, *getattr(request, "param", ()))
    yield served
    if served.process.poll() is None:
        served.end()


def fetch(address: str, body: object = None, host: str | None = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Host": host} if host else {})
    with ui._LOOPBACK.open(urllib.request.Request(address, data=data, headers=headers), timeout=30) as answer:
        return bytes(answer.read())


def test_without_a_store_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrackingError, match="there must be runs to show, but .* is not there yet; run `make sweep` first"
    ):
        ui.serve(store.resolve_uri(None, tmp_path), tmp_path)


def test_a_port_that_is_taken(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrackingError, match=f"the port must be free, but {port} is taken"):
            ui.serve(project.uri, project.root, port)
        assert ui._free_port(None) not in (0, port)


def test_who_has_the_port_is_said() -> None:
    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"OK" if self.path == "/health" else b"no")

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        number = server.server_port
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        said = ui._holder_of(number)
        thread.join()
    assert said == f"an MLflow UI is open already, at http://127.0.0.1:{number}"
    assert ui._holder_of(number) == f"port {number} is taken by another program"


@pytest.mark.slow
def test_the_ui_answers_until_ctrl_c(project: Project, serving: Serving) -> None:
    lines = serving.read(3)
    name, address = lines[0].split()
    assert name == "MLflow"
    assert address.startswith("http://127.0.0.1:")
    number = store.client(project.uri).get_experiment_by_name(EXPERIMENT).experiment_id
    assert lines[1] == f"{EXPERIMENT}  table   {table.address(address, number)}"
    assert lines[2].split() == ["charts", table.address(address, number, table.CHARTS)]
    assert b"<title>MLflow</title>" in fetch(address)
    found = json.loads(fetch(f"{address}/api/2.0/mlflow/runs/search", {"experiment_ids": [number]}))["runs"]
    assert [run["info"]["run_name"] for run in found] == ["#001 conv"]
    run_id = found[0]["info"]["run_id"]
    assert fetch(f"{address}/get-artifact?path=history.csv&run_uuid={run_id}") == b"epoch\n1\n"
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{address}/api/2.0/mlflow/experiments/search", {"max_results": 1}, host="10.evil.com")
    caught.value.close()
    assert caught.value.code == 403
    code, error = serving.end()
    assert code == 0
    assert [line for line in error.splitlines() if "takes another port" not in line] == ["Ctrl-C ends it."]
    views = [table.address(address, number, key) for key in (table.CHARTS, table.TABLE)]
    assert serving.opened.read_text().splitlines() == views, "the table in front"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0, "the server has gone too"


def test_a_study_comes_before_single_nets_and_the_last_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [{"name": name, "experiment_id": str(number)} for number, name in enumerate(_NAMES)]
    answer = io.BytesIO(json.dumps({"experiments": found}).encode())
    monkeypatch.setattr(ui._LOOPBACK, "open", lambda request, timeout: answer)
    assert ui._experiments("http://x") == [("sweeps-b", "3"), ("sweeps-a", "4"), (store.TRAIN_EXPERIMENT, "0")]


_NAMES = [store.TRAIN_EXPERIMENT, "Default", "sweeps-\n", "sweeps-b", "sweeps-a"]


@pytest.mark.slow
@pytest.mark.parametrize("serving", [["json"]], indirect=True, ids=["json"])
def test_scripts_get_both_addresses(project: Project, serving: Serving) -> None:
    found = json.loads(serving.read(1)[0])
    assert serving.end()[0] == 0
    number = store.client(project.uri).get_experiment_by_name(EXPERIMENT).experiment_id
    views = {
        name: table.address(found["url"], number, key) for name, key in (("url", table.TABLE), ("charts", table.CHARTS))
    }
    assert found["experiments"] == [{"name": EXPERIMENT} | views]


@pytest.mark.slow
def test_a_server_that_comes_late(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Real HTTP: the server is not there when the trials begin. In tests/stress one goes away in their middle."""
    port = ui._free_port(0)
    uri = f"http://127.0.0.1:{port}"
    project.parent().start("digits", {}, {})
    shipper = project.shipper(uri)
    shipper.start()
    logs = [project.log(number) for number in range(3)]
    for number, log in enumerate(logs):
        log.start(f"#{number:03d}", {"a": 1}, {"number": number})
    going = threading.Event()

    def train() -> None:
        step = 0
        while not going.is_set():
            step += 1
            for log in logs:
                log.epoch(step, {"val_loss": 1 / step})
            time.sleep(0.05)
        for log in logs:
            log.artifact("events.jsonl")
            log.end("COMPLETE")

    worker = threading.Thread(target=train)
    worker.start()
    try:
        time.sleep(1.0)
        server = Serving(project.root, port)
        assert server.read(1) == [f"MLflow  {uri}"]
        deadline = time.monotonic() + 60
        while len(project.said) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        going.set()
        worker.join()
    assert shipper.close(60) == 0, project.said
    assert shipper.pending() == 0
    runs = project.runs()
    assert [run.info.status for run in runs] == ["RUNNING", "FINISHED", "FINISHED", "FINISHED"]
    for log, run in zip(logs, runs[1:], strict=True):
        steps = [step for step, _ in project.history(run.info.run_id, "val_loss")]
        assert steps == list(range(1, log.last_step + 1))
    assert [line.split(" ")[-1] for line in project.said] == ["back.", "events."]
    assert server.end(signal.SIGTERM)[0] == 0
    assert capsys.readouterr() == ("", ""), "MLflow's client prints links"
