"""Where workers run: on this machine, or on a Dask cluster."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sweeps.workers.cores import worker_count
from sweeps.workers.order import Order

__all__ = ["EXECUTORS", "Executor", "make_pool"]

EXECUTORS = ("local", "dask")


class Executor(Protocol):
    """Starts workers, replaces those that die, and stops them."""

    count: int

    def start(self) -> None:
        """Starts the workers."""

    def watch(self, recover: Callable[[], object]) -> bool:
        """Replaces workers that died, after `recover` has put their trials back. Returns whether any is alive."""

    @property
    def failed(self) -> list[str]:
        """A line for each worker that ended badly."""

    def stop(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Asks all workers to stop and waits for them; once `is_urgent`, they are killed."""


def make_pool(
    executor: str,
    order: Order,
    workers: int | None,
    memory_mb: float,
    folder: Path,
    say: Callable[[str], None],
    *,
    left_s: Callable[[], float | None],
    scheduler: str | None = None,
    joins: bool = False,
) -> Executor:
    """Returns what runs workers at `order`.

    Args:
        executor: one of EXECUTORS.
        order: what each worker does.
        workers: how many; None takes one a core, as far as the memory goes, or all of an existing cluster.
        memory_mb: what one may take.
        folder: where their logs go.
        say: takes a line about a worker that died.
        left_s: says how long until the study's time is up, if it has a limit.
        scheduler: the address of Dask's.
        joins: whether others write logs into the same folder.

    Raises:
        StudyError: there is no such cluster, or Dask is not installed.
    """
    if executor == "dask":
        from sweeps.workers.dask_pool import DaskPool

        count = workers if scheduler else worker_count(workers, memory_mb)
        return DaskPool(order, count, folder, say, left_s, scheduler=scheduler)
    from sweeps.workers.pool import Pool

    name = f"worker-{platform.node()}-{os.getpid()}" if joins else "worker"
    return Pool(order, worker_count(workers, memory_mb), folder, say, left_s, name=name)
