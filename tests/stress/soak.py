"""The long versions of the stress tests, and what they counted.

    make soak [SOAK_KILLS=100] [SOAK_EXAMPLES=10000] [ARGS="journal postgresql dask outages fuzz"]

kills the processes of sweeps on each kind of store, goes through the outages at their full length, and feeds every
reader thousands of damaged inputs. It prints a table, and ends with 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mnistnn.data import Dataset, find_dataset
from tests.optional import need
from tests.stress.killing import Toll, descendants, kills_wanted, sweep_under_fire
from tests.stress.projects import StressProject
from tests.stress.servers import mlflow_server, postgresql
from tests.sweeps.workers.runs import REPO

__all__ = ["main"]

_SAMPLE = Path(__file__).parent.parent / "data" / "mnist"
_KILLS, _EXAMPLES = 100, 10_000
_TRIALS, _EPOCHS = 6, 8


def journal(root: Path, data: Dataset, kills: int) -> Toll:
    """`run` with two workers, everything in the project's own stores."""
    project = StressProject(root / "journal", _SAMPLE, trials=_TRIALS, epochs=_EPOCHS)
    return sweep_under_fire(project, data, kills=kills, seed=4)


def on_postgresql(root: Path, data: Dataset, kills: int) -> Toll:
    """Two `worker`s that joined, trials and runs in PostgreSQL, MLflow a server."""
    with postgresql() as server, mlflow_server(root / "server", server.database("mlflow")) as tracking:
        stores = {"storage": server.database("optuna"), "tracking_uri": tracking.uri}
        project = StressProject(root / "postgresql", _SAMPLE, trials=_TRIALS, epochs=_EPOCHS, **stores)
        project.on_study("init").communicate(timeout=120)
        verbs = [("worker", "--heartbeat", "2s")] * 2
        return sweep_under_fire(project, data, kills=kills, seed=5, verbs=verbs)


def on_dask(root: Path, data: Dataset, kills: int) -> Toll:
    """`run` on a Dask cluster of its own, of which every process may die; one takes seconds to start."""
    need("distributed", "Dask, in the cluster extra")
    project = StressProject(root / "dask", _SAMPLE, trials=_TRIALS, epochs=_EPOCHS)
    return sweep_under_fire(
        project,
        data,
        kills=kills,
        seed=6,
        verbs=[("run", "--executor", "dask", "--workers", "2")],
        victims=lambda process: descendants(process.pid),
        pause_s=(0.5, 8.0),
    )


FIRES: dict[str, Callable[[Path, Dataset, int], Toll]] = {
    "journal": journal,
    "postgresql": on_postgresql,
    "dask": on_dask,
}


def tests(*arguments: str, **environment: str) -> tuple[str, str]:
    """Runs tests in a process of their own. Returns pytest's last line, and all that it said."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    done = subprocess.run(command, cwd=REPO, env=os.environ | environment, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1], done.stdout


def fuzz(examples: int) -> dict[str, object]:
    """Returns what came of feeding every reader so many inputs."""
    last, said = tests("tests/fuzz", "--hypothesis-show-statistics", SOAK_EXAMPLES=str(examples))
    counts = re.findall(r"(\d+) passing examples?, (\d+) failing examples?", said)
    passing, failing = (sum(int(each) for each in column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return {"inputs": f"{passing + failing:,}", "failing": failing, "tests": last}


def show(title: str, rows: dict[str, object]) -> None:
    """Prints a part of the table."""
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:24}{value}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 0 if nothing was wrong."""
    parts = [*FIRES, "outages", "fuzz"]
    parser = argparse.ArgumentParser(prog="python -m tests.stress.soak", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(parts)} [all]")
    chosen = parser.parse_args(arguments).parts or parts
    if unknown := sorted(set(chosen) - set(parts)):
        parser.error(f"a part must be one of {', '.join(parts)}, but got {', '.join(unknown)}")
    kills = kills_wanted(_KILLS)
    faults = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = find_dataset(_SAMPLE, cache=root / "cache")
        for name in [name for name in FIRES if name in chosen]:
            try:
                toll = FIRES[name](root, data, kills)
            except pytest.skip.Exception as reason:
                show(f"kills, {name}", {"skipped": reason})
                continue
            show(f"kills, {name}", toll.rows())
            faults += len(toll.found.faults)
            for fault in toll.found.faults:
                print(f"  FAULT: {fault}")
    if "outages" in chosen:
        began = time.monotonic()
        files = [f"tests/stress/test_{name}.py" for name in ("outages", "disk", "clock", "crowd")]
        last, said = tests(*files, SOAK="1")
        show("outages", {"tests": last, "seconds": round(time.monotonic() - began)})
        faults += _is_bad(last, said)
    if "fuzz" in chosen:
        began = time.monotonic()
        rows = fuzz(int(os.environ.get("SOAK_EXAMPLES") or _EXAMPLES))
        show("fuzz", rows | {"seconds": round(time.monotonic() - began)})
        faults += _is_bad(str(rows["tests"]), "")
    print(f"\n{'nothing was wrong' if not faults else f'{faults} faults'}")
    return 1 if faults else 0


def _is_bad(last: str, said: str) -> bool:
    if is_bad := "passed" not in last or "failed" in last or "error" in last:
        print(said)
    return is_bad


if __name__ == "__main__":
    sys.exit(main())
