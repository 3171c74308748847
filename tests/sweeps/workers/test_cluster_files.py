"""What docs/cluster.md offers to be copied: the commands exist, and the files do what is said of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.cli import main
from tests.sweeps.workers.runs import wait_for

DOCS = Path(__file__).parents[3] / "docs"
SLURM = DOCS / "cluster" / "slurm.sh"
FILES = [DOCS / "cluster.md", SLURM, DOCS / "cluster" / "kubernetes.yaml"]

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# It stands for `python -m sweeps worker` in a job, and ends with 130 as that does.
WORKER = """#!/bin/bash
echo "$@" > {folder}/arguments
trap 'sleep 0.2; touch {folder}/stopped; exit 130' TERM
touch {folder}/began
{body}
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_command_has_the_options_that_are_named(file: Path) -> None:
    calls = re.findall(r"sweeps,? (run|init|worker|trials|doctor)\b([^#\n`]*)", file.read_text())
    assert calls
    for verb, rest in calls:
        known = {option for param in main.commands[verb].params for option in param.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", rest)) <= known, (verb, rest)


@needs_bash
def test_the_job_of_slurm_passes_the_signal_on_and_queues_itself_again(tmp_path: Path) -> None:
    job = _job(tmp_path, "while true; do sleep 0.05; done", "default", "--set", "a=1")
    wait_for(lambda: (tmp_path / "began").exists())
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate(timeout=20)
    assert (tmp_path / "stopped").exists()  # it waited for the worker, whose end was not at once
    assert job.returncode == 130
    assert said.split() == ["scontrol", "requeue", "77_3"]
    assert (tmp_path / "arguments").read_text().split() == (
        ["-m", "sweeps", "worker", "default", "--workers", "4", "--quiet", "--set", "a=1"]
    )


@needs_bash
@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_of_slurm_that_ends_by_itself_stays_ended(tmp_path: Path, code: int) -> None:
    job = _job(tmp_path, f"exit {code}", "default")
    assert job.communicate(timeout=20)[0] == ""
    assert job.returncode == code


@needs_bash
def test_a_job_of_slurm_says_what_is_missing(tmp_path: Path) -> None:
    job = _job(tmp_path, "exit 0")
    assert "the name of a study must be given" in job.communicate(timeout=20)[1]
    assert job.returncode != 0


def test_the_jobs_of_kubernetes_share_stores_and_folder() -> None:
    parts = {(part["kind"], part["metadata"]["name"]): part for part in yaml.safe_load_all(FILES[2].read_text())}
    workers, init = parts["Job", "sweeps-workers"]["spec"], parts["Job", "sweeps-init"]["spec"]
    assert workers["completionMode"] == "Indexed"
    assert parts["PersistentVolumeClaim", "sweeps"]["spec"]["accessModes"] == ["ReadWriteMany"]
    home = parts["ConfigMap", "sweeps"]["data"]["SWEEPS_HOME"]
    for job in (workers, init):
        pod: dict[str, Any] = job["template"]["spec"]
        assert pod["volumes"] == workers["template"]["spec"]["volumes"]
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            assert {"secretRef": {"name": "sweeps-stores"}} in container["envFrom"]
            assert [mount["mountPath"] for mount in container["volumeMounts"]] == [home]


def _job(folder: Path, body: str, *arguments: str) -> subprocess.Popen[str]:
    for name, text in (
        ("python", WORKER.format(folder=folder, body=body)),
        ("scontrol", '#!/bin/sh\necho scontrol "$@"\n'),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PYTHON": str(folder / "python"),
        "SWEEPS_STORAGE": "postgresql+psycopg://db/optuna",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    return subprocess.Popen(
        ["bash", str(SLURM), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
