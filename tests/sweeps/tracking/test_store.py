from __future__ import annotations

import http.server
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.tracking import store, table
from sweeps.tracking.notes import experiment_note, views
from tests.sweeps.tracking.projects import Project

PREPARE = (
    "import sys, pathlib; from sweeps.tracking import store\n"
    "root = pathlib.Path(sys.argv[1]); uri = store.resolve_uri(None, root); store.prepare(uri, root)\n"
    "print(store.experiment(store.client(uri), uri, root, 'sweeps-x').experiment_id)"
)


def start(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_new_database_is_whole_and_nothing_else_is_left(database: Path) -> None:
    assert {path.name for path in database.parent.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}
    store.check_reachable(f"sqlite:///{database}")


def test_preparing_again_changes_nothing(project: Project) -> None:
    before = (Paths(project.root).mlruns / "mlflow.db").stat()
    store.prepare(project.uri, project.root)
    assert (Paths(project.root).mlruns / "mlflow.db").stat().st_ino == before.st_ino


def test_what_a_killed_process_left_is_removed(project: Project) -> None:
    left = Paths(project.root).mlruns / ".mlflow.db.abc.tmp"
    left.write_bytes(b"half")
    store.prepare(project.uri, project.root)
    assert not left.exists()


def test_an_old_schema_is_left_alone_and_the_remedy_named(project: Project) -> None:
    database = sqlite3.connect(Paths(project.root).mlruns / "mlflow.db")
    database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    database.commit()
    database.close()
    with pytest.raises(TrackingError, match=r"must have this MLflow's schema, but .* run `mlflow db upgrade sqlite:"):
        store.prepare(project.uri, project.root)


@pytest.mark.parametrize("name", ["sweeps-digits", "../../etc", "..", "a/b", "ü and 'quotes'", "a\\b%2e%2e", "x" * 200])
def test_an_experiments_artifacts_stay_in_the_store(name: str, project: Project) -> None:
    client = store.client(project.uri)
    found = store.experiment(client, project.uri, project.root, name, "A note.")
    assert store.experiment(client, project.uri, project.root, name) == found
    experiment = client.get_experiment(found.experiment_id)
    artifacts = Paths(project.root).mlruns / "artifacts"
    place = Path(unquote(urlsplit(experiment.artifact_location).path))
    assert place.resolve().parent == artifacts
    assert place.name not in ("", ".", "..")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.tags["mlflow.note.content"] == "A note."
    assert all("best_val_loss" in experiment.tags[tag] for tag in table.VIEW_TAGS)


def test_an_experiments_note_keeps_what_others_wrote(project: Project) -> None:
    client = store.client(project.uri)
    number = store.experiment(client, project.uri, project.root, "sweeps-x", experiment_note("x")).experiment_id
    mine = client.get_experiment(number).tags["mlflow.note.content"] + "\n\nLook at #3 again."
    client.set_experiment_tag(number, "mlflow.note.content", mine)
    store.describe(client, number, {"view": "one"}, {"Study x": views(), "Result": "none."})
    tags = client.get_experiment(number).tags
    assert tags["view"] == "one"
    first, reading, others, last = tags["mlflow.note.content"].split("\n\n")
    assert first.startswith(f"**Study x:** [table](#/experiments/{number}/runs?")
    assert reading.startswith("**Reading:** one run")
    assert (others, last) == ("Look at #3 again.", "**Result:** none.")
    store.experiment(client, project.uri, project.root, "sweeps-x", experiment_note("x"))
    assert client.get_experiment(number).tags == tags, "who only opens it changes nothing"


def test_a_deleted_experiment_is_not_brought_back(project: Project) -> None:
    client = store.client(project.uri)
    found = store.experiment(client, project.uri, project.root, "sweeps-gone")
    client.delete_experiment(found.experiment_id)
    with pytest.raises(TrackingError, match=f"restore --experiment-id {found.experiment_id}`"):
        store.experiment(client, project.uri, project.root, "sweeps-gone")


def test_a_store_made_anew_is_another(project: Project, tmp_path: Path, database: Path) -> None:
    first = store.experiment(store.client(project.uri), project.uri, project.root, "sweeps-x")
    other = f"sqlite:///{tmp_path}/other.db"
    (tmp_path / "other.db").write_bytes(database.read_bytes())
    second = store.experiment(store.client(other), other, tmp_path, "sweeps-x")
    assert first.identity != second.identity


@pytest.mark.slow
def test_four_processes_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(4)]
    answers = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    assert [error for _, error in answers] == [""] * 4, "nothing of MLflow's on stderr"
    assert {answer for answer, _ in answers} == {"1\n"}


@pytest.mark.slow
@pytest.mark.kill
def test_a_kill_while_it_is_made(tmp_path: Path) -> None:
    drawn = random.Random(5)
    for _ in range(3):
        process = start(tmp_path)
        temporary: list[Path] = []
        while not temporary and process.poll() is None:  # the migrations have begun
            time.sleep(0.01)
            mlruns = Paths(tmp_path).mlruns
            temporary = (
                [path for path in mlruns.glob(".mlflow.db.*.tmp") if path.stat().st_size] if mlruns.exists() else []
            )
        time.sleep(drawn.uniform(0.0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(tmp_path)
    answer, error = process.communicate(timeout=120)
    assert (process.returncode, answer, error) == (0, "1\n", "")
    assert {path.name for path in Paths(tmp_path).mlruns.iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (
            403,
            b"Invalid Host header - possible DNS rebinding attack detected",
            "start it with that name among --allowed",
        ),
        (401, b"You are not authenticated.", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_a_server_that_refuses_us_is_one_line_with_a_remedy(tmp_path: Path, code: int, body: bytes, told: str) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with pytest.raises(TrackingError, match=told) as caught:
                store.make_experiment(f"http://ann:hush@127.0.0.1:{server.server_port}", tmp_path, "x", "")
        finally:
            server.shutdown()
            thread.join()
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_in_use_is_not_one_to_be_moved_away(project: Project) -> None:
    path = Paths(project.root).mlruns / "mlflow.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    other = sqlite3.connect(path, timeout=0.0)
    with pytest.raises(sqlite3.OperationalError) as raised:
        other.execute("SELECT count(*) FROM runs")
    for database in (holder, other):
        database.close()
    said = str(store._does_not_open(project.uri, path, raised.value))  # MLflow itself waits for 20 s before it says so
    assert "must be free to use" in said
    assert "(database is locked)" in said
    assert "move" not in said
