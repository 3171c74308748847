"""Passwords in addresses: none gets into a line, a log, a tag, a database, a manifest or a command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.tracking.address import public, reason_of
from sweeps.tracking.events import TrialLog
from tests.stores import give_database
from tests.sweeps.command import ROOT, Home

SECRET = "S3cr3tW0rd"
PASSWORDS = [
    part.replace("S", SECRET) for part in ("S", "S@x", "a:S", "a/S/b", "S%41", "S?q#f", "[S]", "é S", "a@S:b/c")
]
KEYS = ["password", "sslpassword", "PWD", "access_token", "api_key", "client-secret", "passphrase"]
VERBS = [("run", "smoke"), ("trials", "smoke"), ("ensemble", "smoke"), ("doctor", "smoke"), ("train", "mlp3")]
QUOTED = [urllib.parse.quote(password, safe="") for password in PASSWORDS]


@pytest.mark.parametrize("password", [*PASSWORDS, *QUOTED])
@pytest.mark.parametrize("user", ["ann", "", "ann@corp", "a%40b"])
def test_addresses_are_shown_without_them(user: str, password: str) -> None:
    for scheme in ("http", "postgresql+psycopg", "mysql", "tcp"):
        address = f"{scheme}://{user}:{password}@db.example:5432/x"
        assert SECRET not in public(address)
        assert public(address).startswith(f"{scheme}://{user}:***@")
        assert public(address).endswith("db.example:5432/x")
        if " " not in password:
            assert SECRET not in public(f"the store {address} is away, and {address!r} too")


@pytest.mark.parametrize("key", KEYS)
def test_options_of_addresses_too(key: str) -> None:
    for value in (SECRET, f"'{SECRET} x'", f"a%20{SECRET}"):
        assert SECRET not in public(f"postgresql://db/x?user=ann&{key}={value}&sslmode=require")
    assert SECRET not in public(f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{SECRET}")
    assert public("postgresql://db/x?sslmode=require") == "postgresql://db/x?sslmode=require"


@pytest.mark.parametrize("password", PASSWORDS)
def test_what_drivers_say_of_them(password: str) -> None:
    """A driver that parts the address elsewhere quotes a part of it, or it quotes the password as it understood it."""
    address = f"postgresql://ann:{urllib.parse.quote(password, safe='')}@db/x"
    for uri in (address, f"postgresql://ann:{password}@db/x"):
        tail = uri.split(":", 2)[2]
        for said in (password, tail, f"invalid port {tail!r}", urllib.parse.unquote(tail), f"could not parse {uri}"):
            assert SECRET not in reason_of(ValueError(said), uri)


def files_with(root: Path, *secrets: str) -> list[str]:
    """Returns the files below a folder that hold one of the secrets, as bytes."""
    wanted = [secret.encode() for secret in secrets]
    paths = [path for path in root.rglob("*") if path.is_file()]
    return [str(path.relative_to(root)) for path in paths if any(secret in path.read_bytes() for secret in wanted)]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        yield taken.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_stores_that_do_not_answer(tmp_path: Path, sample_dir: Path, closed_port: int, verb: tuple[str, ...]) -> None:
    home = Home.make(tmp_path / "home", sample_dir)
    host = f"127.0.0.1:{closed_port}"
    stores = [["--storage", f"postgresql+psycopg://ann:{password}@{host}/x"] for password in (QUOTED[1], PASSWORDS[3])]
    stores += [["--storage", f"postgresql+psycopg://{host}/x?user=ann&password={SECRET}&connect_timeout=2"]]
    stores += [["--storage", f"nonsense://ann:{SECRET}@{host}/x"], ["--storage", f"postgresql://ann:{SECRET}@h:p/x"]]
    passwords = (QUOTED[1], PASSWORDS[2], PASSWORDS[6])
    tracking = [["--tracking-uri", f"http://ann:{password}@{host}"] for password in passwords]
    chosen = (stores if verb[0] != "train" else []) + (tracking if verb[0] in ("run", "train") else [])
    for options in chosen:
        said = home(*verb, *options)
        assert said.code == 2, said
        assert SECRET not in said.out + said.err
        assert "Traceback" not in said.err
        assert said.err.splitlines()[-1].startswith("error: ")
    assert files_with(home.root, SECRET) == []


def test_reasons_of_failures(tmp_path: Path) -> None:
    address = f"postgresql://ann:{SECRET}@db/x"
    with TrialLog(tmp_path) as log:
        log.start("#1", {}, {})
        log.stop(f"{address} is away")
        log.end("FAIL", reason=f"{address} is away", traceback=f"Traceback …\nError: {address}\n")
    assert files_with(tmp_path, SECRET) == []
    assert "ann:***@db/x" in (tmp_path / "traceback.txt").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc")
def test_a_sweep_with_passwords_in_both_stores(
    tmp_path: Path, sample_dir: Path, closed_port: int, database: Path
) -> None:
    """A real server and a real database, both of which take an address with a password and do not ask for one."""
    home = Home.make(tmp_path / "home", sample_dir)
    server_root = tmp_path / "server"
    give_database(server_root, database)
    serve = (
        "import sys, pathlib; from sweeps.tracking import store, ui; root = pathlib.Path(sys.argv[1])\n"
        "ui.serve(store.resolve_uri(None, root), root)"
    )
    command = [sys.executable, "-c", serve, str(server_root)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=home.environment, cwd=ROOT)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[1].removeprefix("http://")
        password = urllib.parse.quote(f"{SECRET}@:/%", safe="")
        told = {
            "MLFLOW_TRACKING_URI": f"http://ann:{password}@{address}",
            "SWEEPS_STORAGE": f"sqlite:///file:{tmp_path}/trials.db?uri=true&password={SECRET}",
        }
        seen, done = [], threading.Event()
        watcher = threading.Thread(target=watch, args=(seen, done))
        watcher.start()
        changes = ["--set", "budget.trials=2", "--set", "budget.epochs=1", "--workers", "1"]
        try:
            said = home.process("run", "smoke", *changes, **told)
            assert said.code == 0, said
            assert SECRET not in said.out + said.err
            stores = ["--storage", told["SWEEPS_STORAGE"], "--tracking-uri", told["MLFLOW_TRACKING_URI"]]
            for options in (["ensemble", *stores], ["submit", *stores], ["trials", *stores[:2]]):
                said = home(options[0], "smoke", *options[1:])
                assert said.code == 0, said
                assert SECRET not in said.out + said.err
        finally:
            done.set()
            watcher.join()
        assert any("sweeps.workers.worker" in line for line in seen)
        assert listening(int(address.rpartition(":")[2])) == {"0100007F"}, "127.0.0.1 alone"
        assert not [line for line in seen if SECRET in line]
        assert files_with(home.root, SECRET) == []
        assert files_with(server_root, SECRET) == []
        assert (tmp_path / "trials.db").exists()
        assert SECRET.encode() not in (tmp_path / "trials.db").read_bytes()
    finally:
        server.terminate()
        server.communicate(timeout=30)


def listening(port: int) -> set[str]:
    """Returns the addresses on which somebody listens on a port, as Linux writes them."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


def watch(seen: list[str], done: threading.Event) -> None:
    """Collects the command lines of all workers that run meanwhile."""
    own = f"{os.getpid()}"
    while not done.is_set():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != own:
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                except OSError:
                    continue
                if "sweeps" in line and line not in seen:
                    seen.append(line)
        time.sleep(0.1)
