"""What a Dask worker does for a study: it starts the worker process that every other executor starts, and minds it.

The trials are not in Dask's hands: if this process, its machine or the way to it is lost, the worker process leaves
its trial as every worker does, and another goes on with it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.workers.order import Order
from sweeps.workers.process import GRACE_S, spawn_worker

__all__ = ["BEAT_S", "NO", "NOW", "SOON", "Assignment", "Outcome", "dask_setup", "hold", "look", "versions"]

#: What the driver wants: that workers go on, stop at their next step, or are killed.
NO, SOON, NOW = 0, 1, 2
#: How often the driver says that it lives.
BEAT_S = 2.0

_SILENCE_S = 60.0  # a driver that said nothing for so long is dead, or too far away to be worked for
_POLL_S = 0.25
_ANSWER_S = 5.0
_LEAVING = ("closing", "closing_gracefully", "closed")
_COMPARED = ("mnist-sweeps", "numpy", "optuna", "distributed")


@dataclass(frozen=True, slots=True, repr=False)
class Assignment:
    """A task's only argument. The order in it may hold a storage's password, and Dask shows and logs arguments.

    Attributes:
        order: what the worker process is to do.
        number: the worker's, which names its log.
        folder: where logs go, on every machine.
        token: a file that the driver made there.
        channel: the name of the Variable by which the driver speaks, and of the topic by which it hears.
    """

    order: Order
    number: int
    folder: str
    token: str
    channel: str

    def __repr__(self) -> str:
        return f"<worker {self.number} of study {self.order.study!r}>"

    @property
    def log(self) -> Path:
        """What the worker process says."""
        return Path(self.folder) / f"worker-{self.number}.log"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended.

    Attributes:
        code: the worker process's exit code; None if there was no process to end.
        unseen: what this machine would have to see and does not.
        left: it was not the driver's wish: the Dask worker is closing, or nothing was heard of the driver.
    """

    code: int | None = None
    unseen: str | None = None
    left: bool = False


def hold(assignment: Assignment) -> Outcome:
    """Runs a worker process until it ends, the driver wants it to stop, or nothing is heard of the driver."""
    from distributed import Variable, get_client, get_worker

    if (unseen := look(assignment.token, assignment.order.data)["unseen"]) is not None:
        return Outcome(unseen=unseen)
    host: Any = get_worker()
    driver = _Driver(Variable(assignment.channel, client=get_client(timeout=_ANSWER_S)))  # type: ignore[no-untyped-call]
    wish = driver.wish()
    if wish != NO:
        return Outcome(code=0)
    process = spawn_worker(replace(assignment.order, parent=os.getpid(), left_s=driver.left_s), assignment.log)
    host.log_event(assignment.channel, {"number": assignment.number, "pid": process.pid, "host": host.address})
    asked: float | None = None
    while True:
        try:
            code = process.wait(_POLL_S)
            return Outcome(code=code, left=asked is not None and wish == NO)
        except subprocess.TimeoutExpired:
            wish = driver.wish()
        if asked is None and (wish != NO or driver.is_silent or host.status.name in _LEAVING):
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
        if wish == NOW or (asked is not None and time.monotonic() - asked > GRACE_S):
            process.kill()


class _Driver:
    """What is known of the process that runs the study.

    Args:
        channel: the Variable in which it counts, and says what it wants.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._beat: int | None = None
        self._heard = time.monotonic()
        self._wish = NO
        self.left_s: float | None = None

    def wish(self) -> int:
        """Returns NO, SOON or NOW, as last heard."""
        try:
            news = self._channel.get(timeout=_ANSWER_S)
        except (OSError, RuntimeError, TimeoutError):  # the way to the scheduler is broken: silence, for now
            return self._wish
        if news["beat"] != self._beat:
            self._beat, self._heard = news["beat"], time.monotonic()
        self._wish, self.left_s = news["wish"], news["left_s"]
        return self._wish

    @property
    def is_silent(self) -> bool:
        """Whether it does not count any more."""
        return time.monotonic() - self._heard > _SILENCE_S


def look(token: str, data: str) -> dict[str, Any]:
    """Returns what a machine does not see of what workers need, and by what it would train."""
    unseen = None
    if not Path(token).exists():
        unseen = f"the study's folder {Path(token).parent.parent}"
    elif not Path(data).exists():
        unseen = f"the data at {data}"
    return {"unseen": unseen, "versions": versions()}


def versions() -> dict[str, str]:
    """Returns the versions that have to be the same for the same weights, and for the same language."""
    found = {"Python": platform.python_version()}
    for name in _COMPARED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # run from a checkout
    return found


def dask_setup(worker: object) -> None:
    """Lets a local Dask worker outlive Ctrl-C, which a terminal sends to it too: it stops when the driver says so.

    Dask calls this by its name. Until then the signals are blocked, as the driver starts it so.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # not SIG_IGN, which the worker processes would inherit
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
