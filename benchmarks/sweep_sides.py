"""The two sweeps of a race: each a command of its own, in a folder of its own, read when it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.nets import ROOT
from benchmarks.peer_project import PeerPaths
from benchmarks.sweep_curve import Point, TrialRecord, curve, read_sweep
from sweeps.paths import Paths
from sweeps.workers.cores import THREAD_VARIABLES

__all__ = ["OURS", "PEER", "SIDES", "Order", "Sweep", "run_side", "warm_up"]

OURS, PEER = "ours", "peer"
SIDES = (OURS, PEER)

_KEEP_PAGES = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2147483648"  # as the race has it
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What both sides are asked to do.

    Attributes:
        study: the file of the study.
        name: the study's.
        top: members of its ensemble.
        data: the data set's place.
        budget_s: the time of each.
        study_s: the time that the study itself would have, if it is limited.
        seed: the study's.
        workers: processes of each.
        keep_pages: lets glibc keep the memory that a process frees.
        quiet: shows nothing of what they say.
    """

    study: Path
    name: str
    top: int
    data: Path
    budget_s: float
    seed: int
    workers: int
    keep_pages: bool = False
    quiet: bool = False
    study_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a side came to. `command_s` is what its command took in all."""

    command_s: float
    trials: list[TrialRecord] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)

    def count(self, state: str, until_s: float) -> int:
        """Returns how many trials ended in that state by then."""
        return sum(
            trial.state == state and trial.ended_s is not None and trial.ended_s <= until_s for trial in self.trials
        )

    def begun(self, until_s: float) -> int:
        """Returns how many trials were begun by then."""
        return sum(trial.begun_s <= until_s for trial in self.trials)


def warm_up() -> None:
    """Imports once what both sides import: or the first would read it from the disk for the second, too."""
    subprocess.run([sys.executable, "-c", "import mlflow, numpy, optuna, pandas, torch"], cwd=ROOT, check=True)


def run_side(side: str, order: Order, folder: Path) -> tuple[Sweep, np.ndarray]:
    """Runs a side's command to its end.

    Args:
        side: OURS or PEER.
        order: what to do.
        folder: is made, and keeps all of it.

    Returns:
        What it came to, and the validation labels that its trials had.

    Raises:
        RuntimeError: the command failed.
    """
    commonly = ["--data-dir", str(order.data), "--seed", str(order.seed), "--workers", str(order.workers)]
    if side == OURS:
        (folder / "studies").mkdir(parents=True)
        command = ["-m", "sweeps", "run", str(order.study), *commonly, "--set", f"budget.time={order.budget_s:g}"]
        paths = Paths(folder).study(order.name)
        journal, val_probs = paths.journal, lambda number: paths.trial(number) / "val_probs.npz"
    else:
        script = str(ROOT / "benchmarks" / "peer_sweep.py")
        command = [script, str(order.study), *commonly, "--budget", f"{order.budget_s:g}", "--folder", str(folder)]
        journal, val_probs = PeerPaths(folder).journal, PeerPaths(folder).val_probs
    began = time.time()
    code, said = _call([sys.executable, *command], _environment(folder, order), order.quiet)
    command_s = time.time() - began
    if code:
        reason = said.splitlines()[-1] if said else "what it said stands above"
        raise RuntimeError(f"the sweep {side!r} must end well, but its exit code was {code}: {reason}")
    trials, finished, labels = read_sweep(journal, order.name, val_probs, began)
    return Sweep(command_s=command_s, trials=trials, curve=curve(finished, labels, order.top)), labels


def _environment(folder: Path, order: Order) -> Mapping[str, str]:
    """Returns the caller's, without what would lead a sweep out of its folder or give it more than a core's thread."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MLFLOW_") and name not in (*THREAD_VARIABLES, "GLIBC_TUNABLES")
    }
    return kept | {"SWEEPS_HOME": str(folder)} | ({"GLIBC_TUNABLES": _KEEP_PAGES} if order.keep_pages else {})


def _call(command: list[str], environment: Mapping[str, str], quiet: bool) -> tuple[int, str]:
    """Runs a command, which does not outlive this process, whatever asks that to end.

    Returns:
        Its exit code, and with `quiet` what it said instead of showing it.
    """
    to = subprocess.PIPE if quiet else 2  # stdout is for the race's results
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return process.returncode, (said or "").strip()
