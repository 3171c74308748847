from __future__ import annotations

import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import TrackingError
from sweeps.paths import Paths
from sweeps.tracking import store
from sweeps.tracking.cursor import CURSOR, Cursor
from sweeps.tracking.events import EVENTS
from sweeps.tracking.notes import views
from sweeps.tracking.runs import KEY_TAG
from sweeps.tracking.shipper import run_id_of, ship_folder
from tests.sweeps.tracking.projects import EXPERIMENT, Project

EPOCH = {"train_loss": 0.5, "val_loss": 0.25, "val_accuracy": 0.9}
INPUT = {"name": "mnist", "digest": "ba89" * 16, "source": "https://mirror/mnist", "rows": 50_000}


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def trial(project: Project, number: int, state: str = "COMPLETE", reason: str | None = None, epochs: int = 2) -> Path:
    with project.log(number) as log:
        log.start(f"#{number:03d} conv 32-64", {"blocks": 2}, {"number": number}, metrics={"trial": number})
        for step in range(1, epochs + 1):
            log.epoch(step, {name: value / step for name, value in EPOCH.items()})
        log.end(state, reason, {"best_val_loss": 0.25 / epochs})
        return log.folder


def test_a_run_as_mlflow_shows_it(project: Project) -> None:
    project.parent().start("digits", {}, {"study": "digits"}, note="Study **digits**.")
    with project.log(17) as log:
        log.start(
            "#017 conv 32-64 bn adamw 1.2e-3",
            {"filters_1": 32, "norm": True, "adamw.learning_rate": 0.00123456789, "kernel": None, "shape": [1, 2]},
            {"number": 17, "mlflow.source.git.commit": "abc", "numpy": "2.4.6"},
            [INPUT | {"context": "training"}, INPUT | {"context": "validation", "rows": 10_000}],
            metrics={"trial": 17, "parameters": 12_345},
            note="`conv 32-64`",
        )
        log.epoch(1, EPOCH | {"seconds": 1.23456789})
        (log.folder / "history.csv").write_text("epoch,val_loss\n1,0.25\n")
        log.artifact("history.csv", "tables")
        log.tags({"role": "baseline"})
        log.epoch(2, EPOCH | {"seconds": 1.0, "val_loss": 0.125})
        log.end("COMPLETE", metrics={"best_val_loss": 0.125})
    assert project.shipper().drain() == 0
    parent, run = project.runs()
    assert parent.info.run_name == "digits"
    assert parent.data.tags["mlflow.note.content"] == "Study **digits**."
    assert "mlflow.parentRunId" not in parent.data.tags
    assert (parent.info.status, parent.data.tags["state"]) == ("RUNNING", "running")
    assert run.info.run_name == "#017 conv 32-64 bn adamw 1.2e-3"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "filters_1": "32",
        "norm": "true",
        "adamw.learning_rate": "0.0012346",
        "shape": "[1, 2]",
    }
    tags = {name: value for name, value in run.data.tags.items() if name != KEY_TAG}
    assert tags == {
        "number": "17",
        "role": "baseline",
        "state": "complete",
        "mlflow.note.content": "`conv 32-64`",
        "mlflow.parentRunId": parent.info.run_id,
        "mlflow.runName": run.info.run_name,
        "mlflow.source.git.commit": "abc",
        "mlflow.sweeps.numpy": "2.4.6",
    }
    assert run.data.metrics == {
        "trial": 17.0,
        "parameters": 12345.0,
        "train_loss": 0.5,
        "val_loss": 0.125,
        "val_accuracy": 0.9,
        "seconds": 1.0,
        "best_val_loss": 0.125,
    }
    assert project.history(run.info.run_id, "seconds") == [(1, 1.2346), (2, 1.0)]
    assert project.history(run.info.run_id, "best_val_loss") == [(0, 0.125)]
    inputs = [(i.dataset.name, i.dataset.digest, i.tags[0].value) for i in run.inputs.dataset_inputs]
    assert sorted(inputs) == [
        ("mnist training", "ba89" * 4, "training"),
        ("mnist validation", "ba89" * 4, "validation"),
    ]
    assert json.loads(run.inputs.dataset_inputs[0].dataset.source) == {"url": "https://mirror/mnist"}
    client = store.client(project.uri)
    assert [file.path for file in client.list_artifacts(run.info.run_id, "tables")] == ["tables/history.csv"]
    events = [json.loads(line) for line in (project.log(17).folder / EVENTS).read_text().splitlines()]
    assert (run.info.start_time, run.info.end_time) == (events[0]["time_ms"], events[-1]["time_ms"])
    assert client.get_experiment_by_name(EXPERIMENT).tags["mlflow.note.content"] == "What this is."
    assert "".join(project.said) == ""


@pytest.mark.parametrize(
    ("state", "reason", "status", "name"),
    [
        ("COMPLETE", None, "FINISHED", "#001 conv 32-64"),
        ("PRUNED", "median at epoch 2", "KILLED", "#001 pruned · conv 32-64"),
        ("FAIL", "ValueError: no", "FAILED", "#001 failed · conv 32-64"),
    ],
)
def test_how_a_run_ended(project: Project, state: str, reason: str | None, status: str, name: str) -> None:
    trial(project, 1, state, reason)
    assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert (run.info.status, run.info.run_name) == (status, name)
    assert run.data.tags["mlflow.runName"] == name
    assert run.data.tags["state"] == {"FAIL": "failed"}.get(state, state.lower())
    assert run.data.tags.get("reason") == reason


def test_counts_are_not_rounded(project: Project) -> None:
    with project.log(1) as log:
        log.start("#001 conv", {}, {}, metrics={"macs": 1_234_567, "seconds": 123.456789})
        log.end("COMPLETE")
    assert project.shipper().drain() == 0
    assert project.runs()[0].data.metrics == {"macs": 1_234_567.0, "seconds": 123.46}


def test_what_an_experiment_shows_comes_with_the_events(project: Project) -> None:
    with project.parent() as parent:
        parent.start("digits", {}, {})
        parent.experiment({"view": "one"}, {"Study digits": views(), "Result": "still running."})
        parent.experiment({}, {"Result": "done."})
        parent.end("COMPLETE")
    assert project.shipper(note="").drain() == 0
    experiment = store.client(project.uri).get_experiment_by_name(EXPERIMENT)
    assert experiment.tags["view"] == "one"
    links, result = experiment.tags["mlflow.note.content"].split("\n\n")
    assert f"#/experiments/{experiment.experiment_id}/runs?" in links
    assert result == "**Result:** done."


def test_a_stopped_trial_goes_on_in_the_same_run(project: Project) -> None:
    log = project.log(3)
    log.start("#003", {"a": 1}, {})
    log.epoch(1, EPOCH)
    log.stop("Ctrl-C")
    log.close()
    assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert (run.info.status, run.data.tags["state"], run.data.tags["reason"]) == ("SCHEDULED", "waiting", "Ctrl-C")
    assert run.info.end_time is None
    log = project.log(3)
    log.start("#003 again", {"a": 2}, {})
    assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert (run.info.status, run.data.tags["state"], run.data.params) == ("RUNNING", "running", {"a": "1"})
    for step in (1, 2):
        log.epoch(step, EPOCH)
    log.end("PRUNED", "median")
    assert project.shipper().drain() == 0
    (again,) = project.runs()
    assert again.info.run_id == run.info.run_id == run_id_of(log.folder)
    assert again.info.status == "KILLED"
    assert [step for step, _ in project.history(run.info.run_id, "val_loss")] == [1, 2]
    log.start("", {}, {})  # a pruned trial is thawed
    log.end("COMPLETE")
    assert project.shipper().drain() == 0
    (thawed,) = project.runs()
    assert (thawed.info.status, thawed.info.run_name) == ("FINISHED", "#003")
    assert thawed.info.end_time >= again.info.end_time


def test_what_is_not_finite_does_not_flatten_a_chart(project: Project) -> None:
    with project.log(1) as log:
        log.start("n", {}, {})
        log.epoch(1, {"train_loss": float("inf"), "val_loss": float("nan")})
        log.end("PRUNED", "diverged")
    for _ in range(2):
        assert project.shipper().drain() == 0
        (run,) = project.runs()
        assert math.isnan(run.data.metrics["train_loss"])
        assert run.data.tags["nonfinite"] == "train_loss inf at epoch 1, val_loss nan at epoch 1"
        assert len(project.history(run.info.run_id, "train_loss")) == 1
        (log.folder / CURSOR).unlink()


def test_a_lost_cursor_sends_all_again_and_changes_nothing(project: Project) -> None:
    folders = [trial(project, number) for number in range(3)]
    assert project.shipper().drain() == 0
    before = [run.to_dictionary() for run in project.runs()]
    histories = [project.history(run_id_of(folder) or "", "val_loss") for folder in folders]
    for folder, damage in zip(folders, (b"", b"{", b'{"offset": "x", "store": 3}'), strict=True):
        (folder / CURSOR).write_bytes(damage)
    shipper = project.shipper()
    assert shipper.pending() == 12
    assert shipper.drain() == 0
    assert [run.to_dictionary() for run in project.runs()] == before
    assert [project.history(run_id_of(folder) or "", "val_loss") for folder in folders] == histories
    assert all(len(history) == 2 for history in histories)


def test_events_are_delivered_from_any_byte_on(project: Project) -> None:
    """A kill of the shipper at any moment leaves some older cursor; a kill of the worker, part of the file."""
    folder = trial(project, 1, epochs=3)
    data = (folder / EVENTS).read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    (folder / EVENTS).write_bytes(b"")
    cursors = []
    for end in ends:
        for part in (end - 7, end):
            (folder / EVENTS).write_bytes(data[:part])
            project.shipper().drain(0.0)
        cursors.append(Cursor.load(folder))
    assert [cursor.offset for cursor in cursors] == ends
    for cursor in cursors:
        cursor.save(folder)
        assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in project.history(run.info.run_id, "val_loss")] == [1, 2, 3]


class Faulty:
    """The real client; what it was asked to do is done, but now and then the answer is lost."""

    def __init__(self, client: Any, lost: set[str]) -> None:
        self._client, self._lost = client, lost

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = real(*args, **kwargs)
            if name in self._lost:
                self._lost.discard(name)
                raise ConnectionError("the answer was lost")
            return answer

        return call


@pytest.mark.parametrize(
    "name", ["create_run", "log_batch", "log_artifact", "set_terminated", "update_run", "log_inputs"]
)
def test_an_answer_that_was_lost(project: Project, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {name}
    real = store.client
    monkeypatch.setattr(store, "client", lambda uri: Faulty(real(uri), lost))
    with project.log(1) as log:
        log.start("#001", {"a": 1}, {}, [INPUT])
        log.epoch(1, EPOCH)
        (log.folder / "x.csv").write_text("1")
        log.artifact("x.csv")
        log.end("PRUNED", "median")
    assert project.shipper().drain() == 0
    assert not lost
    monkeypatch.undo()
    (run,) = project.runs()
    assert (run.info.status, run.data.params, len(run.inputs.dataset_inputs)) == ("KILLED", {"a": "1"}, 1)
    assert project.history(run.info.run_id, "val_loss") == [(1, 0.25)]
    assert len(project.said) == 2
    assert "is away (the answer was lost). Events are kept in" in project.said[0]
    assert "is back" in project.said[1]


def test_a_second_run_that_came_through_late_is_removed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    log = project.log(1)
    log.start("#001", {}, {})
    lost = {"create_run"}
    real = store.client
    monkeypatch.setattr(store, "client", lambda uri: Faulty(real(uri), lost))
    project.shipper().drain()
    monkeypatch.undo()
    (run,) = project.runs()
    client = store.client(project.uri)
    client.create_run(run.info.experiment_id, tags={KEY_TAG: run.data.tags[KEY_TAG]})
    assert len(project.runs()) == 2
    log.end("COMPLETE")
    assert project.shipper().drain() == 0
    assert [run.info.run_id for run in project.runs()] == [run_id_of(log.folder)]


def test_the_store_goes_away_and_comes_back(project: Project) -> None:
    project.parent().start("digits", {}, {})
    shipper = project.shipper()
    shipper.start()
    logs = [project.log(number) for number in range(2)]
    for number, log in enumerate(logs):
        log.start(f"#{number:03d}", {}, {"number": number})
        log.epoch(1, EPOCH)
    until(lambda: shipper.pending() == 0)
    database = Paths(project.root).mlruns / "mlflow.db"
    database.rename(database.with_suffix(".away"))
    for log in logs:
        log.epoch(2, EPOCH)
    until(lambda: len(project.said) == 1)
    for log in logs:
        log.epoch(3, EPOCH)
        log.end("COMPLETE")
    assert shipper.pending() == 6
    assert not database.exists(), "no empty database may take its place"
    database.with_suffix(".away").rename(database)
    assert shipper.close(20) == 0
    runs = project.runs()[1:]
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    for run in runs:
        assert [step for step, _ in project.history(run.info.run_id, "val_loss")] == [1, 2, 3]
    assert len(project.said) == 2, project.said


def test_a_store_that_stays_away_keeps_the_events(project: Project) -> None:
    trial(project, 1)
    assert project.shipper().drain() == 0
    database = Paths(project.root).mlruns / "mlflow.db"
    shipper = project.shipper()
    shipper.start()
    log = project.log(1)
    log.start("", {}, {})
    until(lambda: shipper.pending() == 0)
    database.rename(database.with_suffix(".away"))
    log.end("FAIL", "no")
    began = time.monotonic()
    assert shipper.close(0.3) == 1
    assert time.monotonic() - began < 3
    database.with_suffix(".away").rename(database)
    assert project.shipper().drain() == 0
    assert [run.info.status for run in project.runs()] == ["FAILED"]


def test_a_folder_that_cannot_be_written_is_not_the_stores_fault(project: Project) -> None:
    folder = trial(project, 1)
    (folder / CURSOR).mkdir()  # in the way of the file, for root too
    said: list[str] = []
    shipper = project.shipper(warn=said.append)
    assert shipper.drain(1.0) == 4
    assert len(said) == 1
    assert f"what was delivered must be written down, but {folder} cannot be (Is a directory)." in said[0]
    assert "is away" not in said[0]
    assert said[0].endswith("sent when there is room.")
    assert not list(folder.glob("*.tmp"))
    (folder / CURSOR).rmdir()
    assert project.shipper().drain() == 0
    assert len(project.runs()) == 1


def test_a_store_made_anew_gets_everything(project: Project, database: Path, tmp_path: Path) -> None:
    project.parent().start("digits", {}, {})
    trial(project, 1)
    trial(project, 2, "PRUNED", "median")
    assert project.shipper().drain() == 0
    own = Paths(project.root).mlruns / "mlflow.db"
    own.unlink()
    store.disconnect(project.uri)
    shutil.copy(database, own)
    assert project.shipper().drain() == 0
    assert [run.info.status for run in project.runs()] == ["RUNNING", "FINISHED", "KILLED"]
    other = f"sqlite:///{tmp_path}/other.db"
    shutil.copy(database, tmp_path / "other.db")
    assert project.shipper(other).drain() == 0
    assert [run.info.status for run in project.runs(other)] == ["RUNNING", "FINISHED", "KILLED"]
    assert project.shipper().drain() == 0
    assert len(project.runs()) == 3


def test_a_trial_waits_for_its_parents_run(project: Project) -> None:
    parent = project.parent()
    (parent.folder / EVENTS).write_bytes(b'{"kind": "sta')
    folder = trial(project, 1)
    assert project.shipper().drain(0.0) == 4
    assert run_id_of(folder) is None
    project.parent().start("digits", {}, {})
    assert project.shipper().drain() == 0
    parent_run, run = sorted(project.runs(), key=lambda run: run.info.run_name, reverse=True)
    assert run.data.tags["mlflow.parentRunId"] == parent_run.info.run_id


def test_a_run_that_the_user_deleted_stays_deleted(project: Project) -> None:
    log = project.log(1)
    log.start("#001", {}, {})
    assert project.shipper().drain() == 0
    store.client(project.uri).delete_run(run_id_of(log.folder))
    log.epoch(1, EPOCH)
    log.end("COMPLETE")
    trial(project, 2)
    assert project.shipper().drain() == 0
    assert [run.info.run_name for run in project.runs()] == ["#002 conv 32-64"]


def test_what_mlflow_refuses_does_not_stop_the_rest(project: Project) -> None:
    with project.log(1) as log:
        log.start("#001 " + "x" * 9000, {"odd name é?": "v" * 9000, "nul": "a\0b"}, {"t": "v" * 9000})
        log.artifact("not-there.npz")
        log.artifact("../../../../etc/hostname")
        with open(log.folder / EVENTS, "ab") as file:
            file.write(b'garbage\n{"kind":"epoch"}\n')
        log.epoch(1, {"val/loss é": 0.5})
        log.end("COMPLETE")
    assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params == {"odd name __": "v" * 6000, "nul": "ab"}
    assert run.data.metrics == {"val/loss _": 0.5}
    assert len(run.data.tags["t"]) == 8000
    assert store.client(project.uri).list_artifacts(run.info.run_id) == []
    assert len(project.said) == 2
    assert all("is not there; it is passed over" in line for line in project.said)


def test_many_epochs_go_in_batches(project: Project) -> None:
    with project.log(1) as log:
        log.start("#001", {f"p{i}": i for i in range(230)}, {f"t{i}": i for i in range(130)})
        for step in range(1, 1001):
            log.epoch(step, {"a": step, "b": step, "c": step})
        log.end("COMPLETE")
    assert project.shipper().drain() == 0
    (run,) = project.runs()
    assert len(run.data.params) == 230
    assert project.history(run.info.run_id, "c")[-1] == (1000, 1000.0)


def test_one_finished_run_is_shipped_at_once(project: Project) -> None:
    folder = trial(project, 5)
    parent = ship_folder(project.uri, project.root, EXPERIMENT, trial(project, 4))
    run_id = ship_folder(project.uri, project.root, EXPERIMENT, folder, parent=parent)
    assert run_id == run_id_of(folder) == ship_folder(project.uri, project.root, EXPERIMENT, folder)
    assert store.client(project.uri).get_run(run_id).data.tags["mlflow.parentRunId"] == parent


def test_a_run_that_cannot_be_shipped_is_one_line_and_is_kept(project: Project) -> None:
    folder = trial(project, 5)
    uri = f"sqlite:///{folder / EVENTS}/mlflow.db"
    with pytest.raises(
        TrackingError, match=r"^the tracking store must be writable, but .* Events are kept in"
    ) as caught:
        ship_folder(uri, project.root, EXPERIMENT, folder, timeout_s=0.1)
    assert "\n" not in str(caught.value)
    assert ship_folder(project.uri, project.root, EXPERIMENT, folder)


def test_two_shippers_at_once_deliver_each_run_once(project: Project) -> None:
    project.parent().start("digits", {}, {})
    shippers = [project.shipper(poll_s=0.01) for _ in range(2)]
    for shipper in shippers:
        shipper.start()
    for number in range(6):
        trial(project, number)
    assert [shipper.close(30) for shipper in shippers] == [0, 0]
    runs = project.runs()
    assert len(runs) == 7
    for run in runs[1:]:
        assert [step for step, _ in project.history(run.info.run_id, "val_loss")] == [1, 2]
    assert "".join(project.said) == ""


SHIP = (
    "import sys, pathlib; from sweeps.tracking.shipper import Shipper; from sweeps.tracking import store\n"
    "root, folder = map(pathlib.Path, sys.argv[1:3])\n"
    "print('begins', flush=True)\n"
    "print(Shipper(store.resolve_uri(None, root), root, sys.argv[3], folder).drain(60))"
)


@pytest.mark.slow
@pytest.mark.kill
def test_a_shipper_killed_at_any_moment(project: Project) -> None:
    project.parent().start("digits", {}, {})
    folders = [trial(project, number, epochs=5) for number in range(12)]
    drawn = random.Random(1)
    command = [sys.executable, "-c", SHIP, str(project.root), str(project.folder), EXPERIMENT]
    kills = 0
    for _ in range(5):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        at = drawn.randint(1, 3) + sum(Cursor.load(folder).offset > 0 for folder in folders)
        while process.poll() is None and sum(Cursor.load(folder).offset > 0 for folder in folders) < at:
            time.sleep(0.005)
        time.sleep(drawn.uniform(0.0, 0.03))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "begins\n0\n"
    runs = project.runs()
    assert [run.info.run_name for run in runs] == ["digits"] + [f"#{n:03d} conv 32-64" for n in range(12)]
    for run, folder in zip(runs[1:], folders, strict=True):
        assert (run.info.run_id, run.info.status) == (run_id_of(folder), "FINISHED")
        assert [step for step, _ in project.history(run.info.run_id, "val_loss")] == [1, 2, 3, 4, 5]
