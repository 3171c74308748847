"""SIGKILL at random moments, to workers and to those who started them, until enough have died; then to the end."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import Popen

from mnistnn.data import Dataset
from tests.stress.audit import Audit, audit
from tests.stress.projects import StressProject
from tests.sweeps.workers.runs import is_alive, kill, wait_for, worker_pids

__all__ = ["KILLS", "Toll", "kills_wanted", "sweep_under_fire"]

_PAUSE_S = (0.1, 1.0)  # between two kills
_WORKERS = 2
_MORE_TRIALS = 4  # when a sweep ends before enough have died


def kills_wanted(default: int) -> int:
    """Returns how often a test shall kill: `SOAK_KILLS`, or what fits a short one."""
    return int(os.environ.get("SOAK_KILLS", default))


KILLS = kills_wanted(8)


@dataclass
class Toll:
    """What a sweep under fire came to."""

    kills: Counter[str] = field(default_factory=Counter)  # by victim: "worker", "run"
    calls: int = 0
    seconds: float = 0.0
    found: Audit = field(default_factory=Audit)

    def rows(self) -> dict[str, object]:
        """Returns the counts, for a table."""
        found = self.found
        return {
            "kills": sum(self.kills.values()),
            **{f"  of a {victim}": count for victim, count in sorted(self.kills.items())},
            "calls of run": self.calls,
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
    victims: Callable[[Popen[str]], list[int]] | None = None,
) -> Toll:
    """Runs a study while processes of it are killed, then to its end, and looks at what is left.

    Args:
        project: the project.
        data: what it trains on.
        kills: how many must die.
        seed: of the moments and the victims. What happens at a moment is the machine's; the draws are the same.
        victims: returns the processes that may be killed beside the one that was called; by default its workers.
    """
    began, rng, toll = time.monotonic(), random.Random(seed), Toll()
    epochs_file = project.root / "epochs.log"
    project.with_probe("epochs", STRESS_EPOCHS=str(epochs_file))
    victims = victims or (lambda process: worker_pids(process.pid))
    budget, orphans = project.trials, set[int]()
    process = None
    while process is None or process.returncode != 0 or sum(toll.kills.values()) < kills:
        assert toll.calls < 10 * kills + 10, f"it does not come to an end: {toll}"
        if process is not None and process.returncode == 0:
            budget += _MORE_TRIALS
        process = project.start("--set", f"budget.trials={budget}", workers=_WORKERS)
        toll.calls += 1
        while process.poll() is None and sum(toll.kills.values()) < kills:
            time.sleep(rng.uniform(*_PAUSE_S))
            workers = victims(process)
            orphans.update(workers)
            victim = rng.choice([*workers, process.pid])
            if process.poll() is None and is_alive(victim):
                kill(victim)
                toll.kills["run" if victim == process.pid else "worker"] += 1
        out, err = process.communicate(timeout=600)
        assert process.returncode in (0, 1, -9), (process.returncode, out, err)
        assert "Traceback" not in err, err
    wait_for(lambda: not any(is_alive(pid) for pid in orphans))  # those of a killed parent leave by themselves
    toll.seconds = time.monotonic() - began
    toll.found = audit(project, data, epochs_file)
    return toll
