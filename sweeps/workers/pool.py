"""The worker processes of one `run`: started, watched, replaced, stopped."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sweeps.workers.order import Order
from sweeps.workers.process import GRACE_S, MAX_RESTARTS, UNUSABLE, describe_exit, ends, last_line, spawn_worker

__all__ = ["Pool"]


@dataclass(slots=True)
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    log: Path
    restarts: int = 0

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()


class Pool:
    """Keeps `count` workers at one order.

    Args:
        order: what each of them does.
        count: how many.
        folder: where their logs go.
        say: takes a line about a worker that died.
        left_s: says how long until the study's time is up, if it has a limit.
        name: what their logs are called.
    """

    def __init__(
        self,
        order: Order,
        count: int,
        folder: Path,
        say: Callable[[str], None],
        left_s: Callable[[], float | None] = lambda: None,
        *,
        name: str = "worker",
    ) -> None:
        self.count = count
        self._order = order
        self._folder = folder
        self._say = say
        self._left_s = left_s
        self._name = name
        self._workers: list[_Worker] = []

    def start(self) -> None:
        """Starts the workers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.count):
            log = self._folder / f"{self._name}-{number}.log"
            self._workers.append(_Worker(number, self._spawn(log, "wb"), log))

    @property
    def pids(self) -> list[int]:
        """The processes that are alive."""
        return [worker.process.pid for worker in self._workers if worker.exit_code is None]

    def watch(self, recover: Callable[[], object]) -> bool:
        """Replaces workers that died, after `recover` has put their trials back into the queue.

        Returns:
            Whether any worker is alive, or was a moment ago.
        """
        busy = False
        for worker in self._workers:
            code = worker.exit_code
            if code is None:
                busy = True
            elif code not in (0, UNUSABLE) and worker.restarts <= MAX_RESTARTS:
                worker.restarts += 1
                recover()
                replaced = worker.restarts <= MAX_RESTARTS
                follow_up = "another takes its place" if replaced else "it is not replaced again"
                self._say(f"worker {worker.number} died ({describe_exit(code)}); {follow_up}. Its log: {worker.log}")
                if replaced:
                    worker.process = self._spawn(worker.log, "ab")
                    busy = True
        return busy

    @property
    def failed(self) -> list[str]:
        """A line for each way in which workers ended badly, with the last line of their logs."""
        return ends(
            (worker.number, f"({describe_exit(worker.exit_code)}): {last_line(worker.log)}")
            for worker in self._workers
            if worker.exit_code
        )

    def stop(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Asks all workers to stop and waits for them; who does not come, or all once `is_urgent`, are killed."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while self.pids and time.monotonic() < deadline and not is_urgent():
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        for worker in self._workers:
            worker.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(number)

    def _spawn(self, log: Path, mode: str) -> subprocess.Popen[bytes]:
        return spawn_worker(replace(self._order, left_s=self._left_s(), workers=self.count), log, mode)
