"""Studies on real Dask clusters: one of their own, and one that was there; whole, killed, and stopped."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mnistnn.data import Dataset
from sweeps.care.replay import replay_trial
from sweeps.errors import StudyError
from sweeps.study.liveness import Owner
from sweeps.workers.dask_task import Assignment, look, versions
from sweeps.workers.order import Order
from tests.optional import need
from tests.sweeps.workers.runs import REPO, Project, is_alive, kill, wait_for, worker_pids

need("distributed", "pip install 'mnist-sweeps[cluster]'")

from sweeps.workers import dask_cluster  # noqa: E402
from sweeps.workers.dask_pool import DaskPool  # noqa: E402  # which needs what was just looked for

pytestmark = pytest.mark.slow

DASK = ("--executor", "dask")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if parent_of(int(folder.name)) == parent:
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def training(*hosts: int) -> list[int]:
    """Returns the worker processes below Dask workers, or below a run that started those itself."""
    families = [each for host in hosts for each in (host, *children_of(host))]
    return [pid for family in families for pid in worker_pids(family)]


def runs_of(project: Project) -> dict[str, str]:
    """Returns the status of each run in MLflow by its name, of which there may be one only."""
    with sqlite3.connect(project.root / "mlruns" / "mlflow.db") as database:
        rows = database.execute("SELECT name, status FROM runs").fetchall()
    assert len(rows) == len(dict(rows))
    return dict(rows)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def project_of(tmp_path: Path, data: Path, database: Path, **sizes: int) -> Project:
    """Returns a project with an empty tracking database."""
    return Project(tmp_path / "p", data, database=database, **sizes)


def order_of(root: Path, **changes: Any) -> Order:
    known: dict[str, Any] = {"config": {"study": {"name": "live"}}, "root": str(root), "data": str(root)}
    return Order(**known | {"data_digest": "0"} | changes)


class External:
    """A scheduler and Dask workers as a cluster has them: processes of the command line, here before and after."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", self.address.rpartition(":")[2], "--no-dashboard")

    def add(self, *options: str) -> subprocess.Popen[bytes]:
        """Starts one more Dask worker of one thread."""
        place = ["--local-directory", str(self.folder), "--no-dashboard", "--memory-limit", "0"]
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny", *place, *options)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "dask.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(REPO)},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    @property
    def log(self) -> str:
        return (self.folder / "dask.log").read_text()

    def close(self) -> None:
        for process in reversed(self.processes):  # the scheduler last
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def external(tmp_path: Path) -> Iterator[External]:
    cluster = External(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


def test_a_study_runs_to_its_end_and_leaves_nothing_of_dask(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = project_of(tmp_path, sample_dir, database, trials=4, epochs=2)
    _, err = project.run(*DASK, workers=2)
    assert {result[0] for result in project.results().values()} <= {"COMPLETE", "PRUNED"}
    assert len(project.results()) == 4
    assert len(runs_of(project)) == 5
    assert {path.name for path in project.paths.folder.glob("worker-*.log")} == {"worker-0.log", "worker-1.log"}
    assert not (project.paths.folder / "dask").exists()
    assert "distributed" not in err
    assert "Traceback" not in err


def test_repeats_run_there_too_and_nothing_else_does(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = project_of(tmp_path, sample_dir, database, trials=1, epochs=2)
    project.run()
    project.study().enqueue_trial({})  # which a run would take first
    out, err = project.run("--top", "1", "--seeds", "2", *DASK, workers=2, verb="repeat")
    assert "1 trial, each repeated by 2 other seeds" in out
    logs = [(project.paths.folder / f"worker-{number}.log").read_text() for number in (0, 1)]
    assert "Traceback" not in "".join([err, *logs])
    states = [trial.state.name for trial in project.study().trials]
    assert states == ["COMPLETE", "WAITING", "COMPLETE", "COMPLETE"]
    assert not (project.paths.folder / "dask").exists()


@pytest.mark.kill
def test_a_dask_worker_that_is_killed_is_replaced_and_its_trial_gone_on_with(
    tmp_path: Path, sample: Dataset, sample_dir: Path, database: Path
) -> None:
    project = project_of(tmp_path, sample_dir, database, trials=2, epochs=60)
    process = project.start(*DASK, "--set", "pruner.type=none", workers=2)
    wait_for(lambda: project.events(0).count("epoch") >= 2)
    owner = Owner.read(project.paths.trial(0) / "lock")
    assert owner is not None
    assert owner.pid in training(process.pid)
    kill(owner.parent)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "is gone); another takes its place" in err
    assert not is_alive(owner.pid)
    for number in (0, 1):
        kinds = project.events(number)
        assert (kinds.count("start"), kinds.count("epoch"), kinds[-1]) == (1, 60, "end")
    assert [project.events(number).count("resume") for number in (0, 1)] == [1, 0]
    assert set(runs_of(project).values()) == {"FINISHED"}
    assert len(runs_of(project)) == 3
    replayed = replay_trial("live", 0, root=project.root, dataset=sample, progress=False)
    assert replayed.is_same, replayed.text()


def test_a_stop_of_the_driver_puts_all_trials_back(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = project_of(tmp_path, sample_dir, database, trials=2, epochs=300)
    process = project.start(*DASK, workers=2)
    wait_for(lambda: "epoch" in project.events(0) and "epoch" in project.events(1))
    pids = training(process.pid)
    assert len(pids) == 2
    hosts = {parent_of(pid) for pid in pids}
    for pid in (process.pid, *hosts):  # as a terminal's Ctrl-C, which reaches the Dask workers too
        os.kill(pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not [pid for pid in (*pids, *hosts) if is_alive(pid)]
    assert [trial.state for trial in project.study().trials] == [TrialState.WAITING] * 2
    assert [project.events(number)[-1] for number in (0, 1)] == ["stop"] * 2
    assert "Traceback" not in err


@pytest.mark.kill
def test_a_driver_that_is_killed_takes_its_cluster_along(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    project = project_of(tmp_path, sample_dir, database, trials=1, epochs=300)
    process = project.start(*DASK)
    wait_for(lambda: "epoch" in project.events(0))
    pids = training(process.pid)
    pids += [parent_of(pid) for pid in pids]
    kill(process.pid)
    process.communicate(timeout=30)
    wait_for(lambda: not [pid for pid in pids if is_alive(pid)], 10.0)
    assert [trial.state for trial in project.study().trials] == [TrialState.WAITING]


def test_a_cluster_that_was_there_is_used_and_stays(
    tmp_path: Path, sample_dir: Path, database: Path, external: External
) -> None:
    one = external.add()
    wait_for(lambda: "Register worker" in external.log)
    project = project_of(tmp_path, sample_dir, database, trials=3, epochs=40)
    process = project.start(*DASK, "--scheduler", external.address, "--set", "pruner.type=none", workers=2)
    wait_for(lambda: "epoch" in project.events(0))
    two = external.add()
    wait_for(lambda: training(two.pid))  # the second worker had waited for a free thread
    kill(one.pid, signal.SIGTERM)  # a node is taken away, with notice
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "1 threads for 2 workers" in err
    assert len(project.results()) == 3
    for number in project.results():
        kinds = project.events(number)
        assert (kinds.count("start"), kinds.count("epoch"), kinds[-1]) == (1, 40, "end")
    assert two.poll() is None
    assert not training(two.pid)


def test_passwords_and_errors_of_an_order_stay_out_of_dask(tmp_path: Path) -> None:
    order = order_of(tmp_path, storage="postgresql+psycopg://u:hush@db/optuna")
    assignment = Assignment(order, 3, str(tmp_path), "t", "c")
    assert f"{assignment!r} {[assignment]}".count("hush") == 0
    assert "worker 3 of study 'live'" in str(assignment)
    assert pickle.loads(pickle.dumps(assignment)).order == order  # what Dask does with it


@pytest.mark.parametrize(
    ("address", "told"), [("tcp://127.0.0.1:{port}", "tcp://127.0.0.1:"), ("nonsense://x:1", "nonsense://x:1")]
)
def test_a_scheduler_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, told: str
) -> None:
    assert dask_cluster._CONNECT_S < 10
    began = time.monotonic()
    monkeypatch.setattr(dask_cluster, "_CONNECT_S", 1.0)
    with pytest.raises(StudyError, match="the Dask scheduler must answer, but") as caught:
        DaskPool(order_of(tmp_path), 1, tmp_path, print, scheduler=address.format(port=free_port()))
    assert time.monotonic() - began < 3
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(StudyError, match=r"pip install 'mnist-sweeps\[cluster\]'"):
        DaskPool(order_of(tmp_path), 1, tmp_path, print)


def test_a_cluster_that_does_not_see_the_study_is_one_line(tmp_path: Path, external: External) -> None:
    external.add()
    wait_for(lambda: "Register worker" in external.log)
    said: list[str] = []
    folder = tmp_path / "p"
    pool = DaskPool(
        order_of(tmp_path, data=str(tmp_path / "gone")), None, folder, said.append, scheduler=external.address
    )
    assert pool.count == 1
    with pytest.raises(StudyError, match="must have mnist-sweeps and see"):
        pool.start()
    assert said == [f"the Dask workers on 127.0.0.1 are left out: they do not see the data at {tmp_path / 'gone'}."]
    assert not (folder / "dask").exists()


def test_machines_say_what_they_see_and_have(tmp_path: Path) -> None:
    token = tmp_path / "study" / "dask" / "token"
    assert str(tmp_path / "study") in look(str(token), str(tmp_path))["unseen"]
    token.parent.mkdir(parents=True)
    token.touch()
    assert look(str(token), str(tmp_path)) == {"unseen": None, "versions": versions()}
    assert {"Python", "numpy", "optuna", "distributed"} <= versions().keys()
