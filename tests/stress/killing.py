"""SIGKILL at random moments, to workers and to those who started them, until enough have died; then to the end."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from mnistnn.data import Dataset
from tests.stress.audit import Audit, audit
from tests.stress.projects import StressProject
from tests.sweeps.workers.runs import is_alive, kill, wait_for, worker_pids

__all__ = ["KILLS", "Toll", "descendants", "kills_wanted", "sweep_under_fire"]

_MORE_TRIALS = 4  # when a sweep ends before enough have died


def kills_wanted(default: int) -> int:
    """Returns how often a test shall kill: `SOAK_KILLS`, or what fits a short one."""
    return int(os.environ.get("SOAK_KILLS", default))


KILLS = kills_wanted(8)


def descendants(pid: int) -> list[int]:
    """Returns the processes below one, as far down as they go, but for Python's own helper, which shows how it dies."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found, below = [], [pid]
    while below:
        below = [child for child, parent in parents.items() if parent in below]
        found += below
    return [each for each in found if b"resource_tracker" not in _command(each)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass
class Toll:
    """What a sweep under fire came to."""

    kills: Counter[str] = field(default_factory=Counter)  # by victim: a verb, or a worker's process
    calls: int = 0
    seconds: float = 0.0
    found: Audit = field(default_factory=Audit)

    @property
    def killed(self) -> int:
        """How many were killed."""
        return sum(self.kills.values())

    def rows(self) -> dict[str, object]:
        """Returns the counts, for a table."""
        found = self.found
        return {
            "kills": self.killed,
            **{f"  of a {victim}": count for victim, count in sorted(self.kills.items())},
            "commands started": self.calls,
            "trials": f"{found.trials} ({found.complete} complete, {found.pruned} pruned)",
            "attempts": found.attempts,
            "resumed": found.resumed,
            "epochs": found.epochs,
            "lost epochs": found.lost_epochs,
            "runs": found.runs,
            "duplicated runs": found.duplicated_runs,
            "orphans": found.orphans,
            "replays equal": f"{found.equal_replays} of {found.replays}",
            "faults": len(found.faults),
            "seconds": round(self.seconds),
        }


def sweep_under_fire(
    project: StressProject,
    data: Dataset,
    *,
    kills: int,
    seed: int,
    verbs: Sequence[Sequence[str]] = (("run", "--workers", "2"),),
    victims: Callable[[Popen[str]], list[int]] = lambda process: worker_pids(process.pid),
    pause_s: tuple[float, float] = (0.1, 1.0),
) -> Toll:
    """Lets commands work on a study while processes are killed, then to its end, and looks at what is left.

    Args:
        project: the project.
        data: what it trains on.
        kills: how many must die.
        seed: of the moments and the victims. What happens at a moment is the machine's; the draws are the same.
        verbs: the commands that work on the study at once, each with its options; who was killed is called again.
        victims: returns the processes of a command that may be killed beside itself; by default its workers.
        pause_s: the shortest and the longest time between two kills.
    """
    began, rng, toll = time.monotonic(), random.Random(seed), Toll()
    epochs_file = project.root / "epochs.log"
    project.with_probe("epochs", STRESS_EPOCHS=str(epochs_file))
    budget, orphans = project.trials, set[int]()
    at_work: list[Popen[str] | None] = [None] * len(verbs)
    is_done = False
    with contextlib.ExitStack() as stack:
        while not is_done:
            assert toll.calls < 10 * kills + 20, f"it does not come to an end: {toll}"
            for index, (verb, *options) in enumerate(verbs):
                if at_work[index] is None:
                    options += ["--set", f"budget.trials={budget}"]
                    at_work[index] = stack.enter_context(project.at_work(verb, *options))
                    toll.calls += 1
            time.sleep(rng.uniform(*pause_s))
            targets = [(process, pid) for process in at_work if process for pid in [*victims(process), process.pid]]
            orphans.update(pid for process, pid in targets if pid != process.pid)
            process, pid = rng.choice(targets)
            if toll.killed < kills and is_alive(pid):
                kill(pid)
                toll.kills[process.args[3] if pid == process.pid else "worker process"] += 1
            for index, process in enumerate(at_work):
                if process is not None and process.poll() is not None:
                    _, err = process.communicate()
                    assert process.returncode in (0, 1, -9), (process.returncode, err)
                    assert "Traceback" not in err, err
                    at_work[index] = None
                    if process.returncode == 0 and toll.killed < kills:  # it came to its end before enough had died
                        budget += _MORE_TRIALS
                    is_done |= process.returncode == 0 and toll.killed == kills
        for process in filter(None, at_work):  # the others find the budget used up
            process.communicate(timeout=120)
    wait_for(lambda: not any(is_alive(pid) for pid in orphans))  # those of a killed parent leave by themselves
    toll.seconds = time.monotonic() - began
    toll.found = audit(project, data, epochs_file)
    return toll
