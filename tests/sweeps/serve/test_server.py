from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from mnistnn.data import Dataset
from sweeps.paths import StudyPaths
from sweeps.serve import App
from sweeps.serve.server import _holder_of, _listening
from tests.mnistnn.data.formats import png
from tests.sweeps.command import ROOT, Home
from tests.sweeps.serve.study import MEMBERS, NAME


@contextmanager
def serving(root: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Runs the verb; yields its process and the port that it said."""
    environment = os.environ | {"SWEEPS_HOME": str(root), "BROWSER": "false"}
    command = [sys.executable, "-m", "sweeps", "serve", NAME, *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"{NAME}, ensemble of {MEMBERS} · mean  http://127.0.0.1:"), line
        yield process, int(line.rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def root(champion: StudyPaths) -> Path:
    return champion.folder.parents[1]


@pytest.mark.slow
def test_a_second_one_names_the_first(root: Path) -> None:
    code = (
        f"from sweeps.serve import server; server._PORT = {{}}; from sweeps.cli import main; main(['serve', {NAME!r}])"
    )
    with serving(root) as (_, port):
        environment = os.environ | {"SWEEPS_HOME": str(root), "BROWSER": "false"}
        command = [sys.executable, "-c", code.format(port)]
        second = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert second.stdout is not None
        line = second.stdout.readline()
        second.send_signal(signal.SIGINT)
        _, err = second.communicate(timeout=20)
    assert int(line.rpartition(":")[2]) != port
    assert err.splitlines()[0] == (
        f"study {NAME} is served already, at http://127.0.0.1:{port}; this one takes another port."
    )


@pytest.mark.slow
def test_it_answers_until_ctrl_c(root: Path, sample: Dataset) -> None:
    digit = sample.split(1)[1].take()[0][0]
    with serving(root) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with closing(connection):
            connection.request("POST", "/predict", png(digit), {"Content-Type": "image/png"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert len(json.loads(answer.read())["probs"]) == 10
        with closing(socket.create_connection(("127.0.0.1", port))) as silent:  # holds nobody up, not even the end
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with closing(connection):
                connection.putrequest("POST", "/predict")
                connection.putheader("Content-Type", "image/png")
                connection.putheader("Content-Length", str(1 << 40))
                connection.endheaders()
                answer = connection.getresponse()
                assert answer.status == 413
                assert "at most" in json.loads(answer.read())["error"]
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            assert silent.fileno() >= 0
        assert process.returncode == 0
        assert err.endswith("Ctrl-C ends it.\n")
        assert time.monotonic() - began < 10


def test_it_listens_on_loopback_alone() -> None:
    with closing(_listening(None)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_one_line(champion: StudyPaths, root: Path, sample_dir: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = Home(root, sample_dir)("serve", NAME, "--port", port)
    assert said.code == 2
    assert said.err == f"error: the port must be free, but {port} is taken; name another, or none to take any.\n"


def test_without_a_port_another_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("sweeps.serve.server._PORT", taken.getsockname()[1])
        with closing(_listening(None)) as listener:
            assert listener.getsockname()[1] != taken.getsockname()[1]


def test_who_has_the_port_is_said(app: App) -> None:
    with closing(_listening(0)) as listener:
        number = listener.getsockname()[1]
        server = make_server("127.0.0.1", number, app, threaded=True, fd=listener.fileno())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        said = _holder_of(number)
        server.shutdown()
        thread.join()
    assert said == f"study {NAME} is served already, at http://127.0.0.1:{number}"
    assert _holder_of(number) == f"port {number} is taken by another program"


def test_without_an_ensemble_it_says_how_to_build_one(tmp_path: Path, sample_dir: Path) -> None:
    said = Home.make(tmp_path / "home", sample_dir)("serve", "smoke")
    assert said.code == 2
    assert said.err == (
        "error: study 'smoke' must have an ensemble, but has none yet; build it with `ensemble smoke`.\n"
    )
