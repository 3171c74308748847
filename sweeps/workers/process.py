"""A worker's process: how it is started, wherever that is, and what its end means."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from sweeps.workers.cores import THREAD_VARIABLES
from sweeps.workers.order import Order

__all__ = ["GRACE_S", "MAX_RESTARTS", "UNUSABLE", "describe_exit", "ends", "last_line", "spawn_worker"]

#: How often a worker that died is replaced.
MAX_RESTARTS = 3
#: The exit code of a worker that cannot use what it was given: another could not either.
UNUSABLE = 2
#: How long workers get to come to the next step and put their trials back.
GRACE_S = 30.0

_LEAST_ROOM = 1 << 12  # bytes of a disk on which no line finds room

_PACKAGES = Path(__file__).resolve().parent.parent.parent


def spawn_worker(order: Order, log: Path, mode: str = "ab") -> subprocess.Popen[bytes]:
    """Starts a process that works at `order`, with one thread for its BLAS.

    Args:
        order: what it does.
        log: where what it says goes.
        mode: `wb` begins the log anew.
    """
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
    path = [str(_PACKAGES), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    # A Dask worker has it for the data that it holds; here it would give memory back that the next step takes again.
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    output: IO[bytes]
    with open(log, mode) as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.workers.worker", order.study],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
        )
    assert process.stdin is not None
    # On standard input, as a storage's URL may hold a password, which an argument would show to every user.
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(order.to_json().encode())
    return process


def describe_exit(code: int | None) -> str:
    """Returns an exit code in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    return f"{name}, perhaps out of memory" if name == "SIGKILL" else name


def ends(faults: Iterable[tuple[int, str]]) -> list[str]:
    """Returns a line for each way in which workers ended, with the numbers of those that did.

    Args:
        faults: of each worker that ended badly its number, and how: `(exit code 2): error: …`.
    """
    numbers: dict[str, list[str]] = {}
    for number, how in faults:
        numbers.setdefault(how, []).append(str(number))
    return [f"worker{'s' if len(who) > 1 else ''} {', '.join(who)} ended {how}" for how, who in numbers.items()]


def last_line(log: Path) -> str:
    """Returns the last thing that a worker said."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return f"see {log}"
    if lines:
        return lines[-1]
    with contextlib.suppress(OSError):
        if shutil.disk_usage(log.parent).free < _LEAST_ROOM:
            return f"it could say nothing, for there is no space left on the device of {log.parent}; make room there"
    return "it said nothing"
