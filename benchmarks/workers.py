"""What a second worker gains, beside what two processes gain that only multiply matrices.

`python -m benchmarks.workers NET` is one worker: for each line "train 1.5" or "sgemm 1.5" on standard input it works so
many seconds and prints how much it did a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from benchmarks.contenders import our_step
from benchmarks.measure import ONE_THREAD, Spread, spread
from benchmarks.nets import ROOT, named_case

__all__ = ["WorkersResult", "measure_workers"]

_TASKS = ("train", "sgemm")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersResult:
    """What two workers do over what one does, in training and in bare sgemm, and the one over the other."""

    net: str
    train_gain: Spread
    sgemm_gain: Spread
    share: Spread


class _Worker:
    """A process that works when it is told to."""

    def __init__(self, net: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", net],
            cwd=ROOT,
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()  # closes its input, which ends it

    def begin(self, task: str, seconds: float) -> None:
        assert self._process.stdin is not None  # as asked for by PIPE
        self._process.stdin.write(f"{task} {seconds}\n")
        self._process.stdin.flush()

    def rate(self) -> float:
        """Waits for what was begun, and returns how much was done a second.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdout is not None  # as asked for by PIPE
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker that was measured ended by itself; its last lines stand above.")
        return float(line)


def measure_workers(net: str, *, rounds: int, seconds: float) -> WorkersResult:
    """Lets one worker, and then both, train and multiply in turns."""
    gains: dict[str, list[float]] = {task: [] for task in _TASKS}
    with _Worker(net) as first, _Worker(net) as second:
        for number in range(-1, rounds):  # the first round only warms up
            for task in _TASKS:
                alone = _rate([first if number % 2 else second], task, seconds)
                both = _rate([first, second], task, seconds)
                if number >= 0:
                    gains[task].append(both / alone)
    train, sgemm = (np.array(gains[task]) for task in _TASKS)
    return WorkersResult(net=net, train_gain=spread(train), sgemm_gain=spread(sgemm), share=spread(train / sgemm))


def _rate(workers: list[_Worker], task: str, seconds: float) -> float:
    for worker in workers:
        worker.begin(task, seconds)
    return sum(worker.rate() for worker in workers)


def main(net: str) -> None:
    """Works as it is told until there is no more input."""
    a, b, out = np.random.default_rng(0).standard_normal((3, 1024, 1024), np.float32)
    tasks: dict[str, Callable[[int], object]] = {
        "train": our_step(named_case(net)),
        "sgemm": lambda _: np.matmul(a, b, out=out),
    }
    done = dict.fromkeys(tasks, 0)
    for line in sys.stdin:
        task, seconds = line.split()
        began, first = time.perf_counter(), done[task]
        while (passed := time.perf_counter() - began) < float(seconds):
            tasks[task](done[task])
            done[task] += 1
        print((done[task] - first) / passed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
