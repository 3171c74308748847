"""The two processes of a race: one side each, on one thread and one core, and what they report."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.race.settings import Settings
from mnistnn.data import Dataset, find_dataset
from mnistnn.data.dataset import TestSet
from sweeps.workers.cores import THREAD_VARIABLES, usable_cores

__all__ = ["SIDES", "Competitors", "Finish", "Lap", "Ready", "SideFailed", "pick_cores"]

SIDES = ("numpy", "torch")
LAP_STEPS = 4
CURVE_STRIDE = 4
"""The curve is drawn by every fourth test image while the training runs; its end is by all of them."""

_KEEP_PAGES = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2147483648"


class SideFailed(Exception):
    """A side's process could not go on; the message says which, and why."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A side has its data and is warm. `step_ms` is what a step took just now."""

    side: int
    detail: str
    step_ms: float


@dataclass(frozen=True, slots=True)
class Lap:
    """How far a side has come; `accuracy` is that on the curve's test images, where it was measured."""

    side: int
    steps: int
    seconds: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Finish:
    """A side has done all steps; `accuracy` is that on all test images."""

    side: int
    seconds: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class _Start:
    seed: int
    lap_steps: int
    laps_per_point: int  # 0 for no curve
    core: int | None


@dataclass(frozen=True, slots=True)
class _Job:
    side: int
    settings: Settings
    data: Path
    cache: Path
    test: TestSet


class Competitors:
    """Both sides' processes, started and warm. Use it as a context: on leaving it they are gone, whatever happened.

    Args:
        settings: the training.
        dataset: all its training images are learned from.
        test: its test images.
        cache: where `find_dataset` may unpack.
        keep_pages: lets glibc keep the memory that a process frees; see docs/race.md. No effect without glibc.

    Raises:
        SideFailed: a process could not go on.
    """

    def __init__(
        self, settings: Settings, dataset: Dataset, test: TestSet, *, cache: Path, keep_pages: bool = False
    ) -> None:
        self._steps = settings.steps
        self._jobs = [_Job(side, settings, dataset.path, cache, test) for side in range(len(SIDES))]
        self._environment = dict.fromkeys(THREAD_VARIABLES, "1")
        if keep_pages:
            self._environment["GLIBC_TUNABLES"] = _KEEP_PAGES
        self._cores = pick_cores()
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> Competitors:
        context = multiprocessing.get_context("spawn")
        try:
            for job in self._jobs:
                ours, theirs = context.Pipe()
                process = context.Process(target=_run, args=(theirs, job), name=SIDES[job.side], daemon=True)
                with _inherited(self._environment):
                    process.start()
                theirs.close()  # or the end of the process would not be the end of the pipe
                self._processes.append(process)
                self._pipes.append(ours)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ready(self) -> list[Ready]:
        """Waits until both sides are warm. They warm up one after the other, so that neither disturbs the other."""
        return [self._ask(side, "warm up") for side in range(len(SIDES))]

    def race(self, seed: int, *, curve: int = 0, together: bool = False) -> Iterator[Lap | Finish]:
        """Lets both sides train, and yields what they report.

        Args:
            seed: of the first weights and the order of the images; an odd one swaps the cores, and who goes first.
            curve: how many points of the accuracy to measure while training.
            together: both at once, on a core each; otherwise one after the other.
        """
        sides = [seed % 2, 1 - seed % 2]
        for group in [sides] if together else [[side] for side in sides]:
            for side in group:
                lap_steps = LAP_STEPS if curve else self._steps
                laps_per_point = max(1, round(self._steps / LAP_STEPS / curve)) if curve else 0
                core = self._cores[sides.index(side)] if self._cores else None
                self._send(side, _Start(seed, lap_steps, laps_per_point, core))
            waiting = set(group)
            while waiting:
                ready = connection.wait([self._pipes[side] for side in waiting])
                for side in [side for side in waiting if self._pipes[side] in ready]:
                    event = self._receive(side)
                    if isinstance(event, Finish):
                        waiting.remove(side)
                    yield event

    def _ask(self, side: int, question: Any) -> Any:
        self._send(side, question)
        return self._receive(side)

    def _send(self, side: int, message: Any) -> None:
        with contextlib.suppress(OSError):  # the reason is what `_receive` will find
            self._pipes[side].send(message)

    def _receive(self, side: int) -> Any:
        try:
            event = self._pipes[side].recv()
        except (EOFError, OSError):
            self._processes[side].join(1)
            code = self._processes[side].exitcode
            raise SideFailed(f"the process of the {SIDES[side]} side ended with code {code}") from None
        if isinstance(event, Exception):
            raise event
        return event

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(2)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()


def pick_cores() -> tuple[int, int] | None:
    """Returns two cores to pin the sides to, of different physical cores if there are; None where that is not to be."""
    if usable_cores() < 2 or not hasattr(os, "sched_setaffinity"):
        return None
    first, *others = sorted(os.sched_getaffinity(0))
    siblings = _siblings(first)
    return first, next((core for core in others if core not in siblings), others[0])


def _siblings(core: int) -> set[int]:
    """Returns the cores that are the same physical one, as Linux tells it: "0,64" or "0-1"."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return set()
    found: set[int] = set()
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return found


@contextlib.contextmanager
def _inherited(environment: dict[str, str]) -> Iterator[None]:
    """Lets a process that is started here have these variables, and leave Ctrl-C to its parent, who will end it."""
    former = os.environ.copy()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(former)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _run(pipe: Connection, job: _Job) -> None:
    """What a side's process does: it answers until the parent has gone."""
    try:
        _compete(pipe, job)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(SideFailed(f"the {SIDES[job.side]} side failed: {type(error).__name__}: {error}"))


def _compete(pipe: Connection, job: _Job) -> None:
    from benchmarks.race.sides import laps, make_side, warm_up

    dataset = find_dataset(job.data, cache=job.cache)
    images = len(dataset.train_labels)
    pipe.recv()
    side = make_side(SIDES[job.side], job.settings, dataset.train_images, dataset.train_labels)
    curve_images, curve_labels = job.test.images[::CURVE_STRIDE], job.test.labels[::CURVE_STRIDE]
    side.accuracy(curve_images, curve_labels)
    pipe.send(Ready(job.side, side.detail, warm_up(side, job.settings, images)))
    while True:
        start: _Start = pipe.recv()
        if start.core is not None:
            os.sched_setaffinity(0, {start.core})
        course = laps(side, job.settings, start.seed, images, every=start.lap_steps)
        for number, (steps, seconds) in enumerate(course, 1):
            if start.laps_per_point:
                at_point = number % start.laps_per_point == 0 or steps == job.settings.steps
                accuracy = side.accuracy(curve_images, curve_labels) if at_point else None
                pipe.send(Lap(job.side, steps, seconds, accuracy))
        pipe.send(Finish(job.side, seconds, side.accuracy(job.test.images, job.test.labels)))
