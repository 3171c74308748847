"""Workers on a Dask cluster: the same processes as `pool.Pool` starts, each minded by a task on a Dask worker."""

from __future__ import annotations

import contextlib
import queue
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.errors import StudyError
from sweeps.tracking.address import reason_of
from sweeps.workers.cores import usable_cores
from sweeps.workers.dask_cluster import ANSWER_S, DaskCluster
from sweeps.workers.dask_task import BEAT_S, NO, NOW, SOON, Assignment, Outcome, hold
from sweeps.workers.order import Order
from sweeps.workers.process import GRACE_S, MAX_RESTARTS, UNUSABLE, describe_exit, last_line

__all__ = ["DaskPool"]

_LOST_S = 30.0  # a scheduler that does not answer for so long is gone
_UNHEARD_S = 1.0  # who began before the stop was said makes himself heard within this
_URGENT_S = 3.0
_TICK_S = 0.02


@dataclass(slots=True)
class _Worker:
    """One worker of the study, over all tasks that it was, one after another."""

    number: int
    log: Path
    future: Any = None
    host: str | None = None  # the Dask worker that has it
    pid: int | None = None
    outcome: Outcome | None = None
    error: str | None = None
    restarts: int = 0

    @property
    def is_known_over(self) -> bool:
        return self.outcome is not None or self.error is not None

    @property
    def fault(self) -> str | None:
        """Why it ended, if that was bad."""
        if self.error is not None:
            return f"worker {self.number} ended: {self.error}"
        if self.outcome is None or not (self.outcome.code or self.outcome.unseen):
            return None
        if self.outcome.unseen:
            return f"worker {self.number} ended: its machine must see {self.outcome.unseen}, but does not."
        return f"worker {self.number} ended ({describe_exit(self.outcome.code)}): {last_line(self.log)}"


class DaskPool:
    """Keeps `count` workers at one order, on a Dask cluster: one that is there, or one of its own on this machine.

    Args:
        order: what each of them does.
        count: how many; None for as many as the cluster has threads.
        folder: where their logs go; every Dask worker must see it, and the order's folders.
        say: takes a line about a worker that died.
        left_s: says how long until the study's time is up, if it has a limit.
        scheduler: the address of a cluster's scheduler; None starts processes here, and ends them.

    Raises:
        StudyError: Dask is not installed, or the scheduler does not answer.
    """

    def __init__(
        self,
        order: Order,
        count: int | None,
        folder: Path,
        say: Callable[[str], None],
        left_s: Callable[[], float | None] = lambda: None,
        scheduler: str | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._say = say
        self._left_s = left_s
        self._cluster = DaskCluster(scheduler)
        self.count = count or (scheduler and sum(self._cluster.threads().values())) or usable_cores()
        self._order = replace(order, workers=self.count)
        self._name = f"sweeps-{order.study}-{uuid.uuid4().hex[:8]}"
        self._own = self._folder / "dask"
        self._token = self._own / self._name
        self._workers: list[_Worker] = []
        self._machines: list[str] | None = None  # those that see what they have to; None: all
        self._channel: Callable[[dict[str, Any]], None] | None = None
        self._begun: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._beat = 0
        self._beaten = self._answered = time.monotonic()
        self._gone: str | None = None

    def start(self) -> None:
        """Starts the workers.

        Raises:
            StudyError: the cluster cannot be started, or none of its machines sees what workers need.
        """
        shutil.rmtree(self._own, ignore_errors=True)  # of a run that was killed
        self._own.mkdir(parents=True)
        self._token.touch()
        try:
            self._cluster.start(self.count, self._own)
            self._channel = self._cluster.channel(self._name, self._begun.put)
            self._tell(NO)
            if not self._cluster.is_own:
                self._inspect()
            for number in range(self.count):
                worker = _Worker(number, self._folder / f"worker-{number}.log")
                worker.log.write_bytes(b"")
                self._submit(worker)
                self._workers.append(worker)
        except BaseException:
            self._close()
            raise

    @property
    def pids(self) -> list[int]:
        """The processes that are alive as far as it is known, each on its own machine."""
        self._hear(lambda: None)
        return [worker.pid for worker in self._workers if worker.pid is not None and not self._is_over(worker)]

    def watch(self, recover: Callable[[], object]) -> bool:
        """Replaces workers that died, after `recover` has put their trials back into the queue.

        The task of a Dask worker that is gone is given to another by Dask itself.

        Returns:
            Whether any worker is alive, or was a moment ago.
        """
        self._hear(recover)
        if time.monotonic() - self._beaten >= BEAT_S:
            self._keep_in_touch(recover)
        if self._gone is not None or not self._cluster.is_connected:
            return self._gone is None
        busy = False
        for worker in self._workers:
            busy = not self._is_over(worker) or self._replace(worker, recover) or busy
        return busy

    @property
    def failed(self) -> list[str]:
        """A line for each worker that ended badly, or one for a cluster that is gone."""
        if self._gone is not None:
            return [self._gone]
        return [fault for worker in self._workers if (fault := worker.fault) is not None]

    def stop(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Asks all workers to stop and waits for them; who does not come, or all once `is_urgent`, are killed."""
        with contextlib.suppress(StudyError):
            if self._channel is not None and self._gone is None:
                self._wait(is_urgent)
        self._close()

    def _wait(self, is_urgent: Callable[[], bool]) -> None:
        self._tell(SOON)
        told = time.monotonic()
        deadline, urgent = told + GRACE_S + ANSWER_S, False
        while time.monotonic() < deadline:
            self._hear(lambda: None)
            unheard = time.monotonic() - told < _UNHEARD_S
            # Tasks that still wait for a free thread do not count: the stop is the first thing that they would read.
            if not [each for each in self._workers if not self._is_over(each) and (each.host or unheard)]:
                return
            if not urgent and is_urgent():
                urgent, deadline = True, time.monotonic() + _URGENT_S
                self._tell(NOW)
            time.sleep(_TICK_S)

    def _inspect(self) -> None:
        """Sees what the machines of a cluster see.

        Raises:
            StudyError: none of them could work.
        """
        known, name = self._cluster.threads(), self._cluster.name
        if not known:
            self._say(f"the Dask cluster at {name} has no workers yet; the study waits for them.")
            return
        if (threads := sum(known.values())) < self.count:
            self._say(f"the Dask cluster at {name} has {threads} threads for {self.count} workers; the others wait.")
        self._machines = self._cluster.seeing(self._token, self._order.data, self._say)
        if self._machines == []:
            raise StudyError(
                f"Dask workers must have mnist-sweeps and see {self._folder} and {self._order.data}, but none at "
                f"{name} does; put both where all machines see them under the same path."
            )

    def _submit(self, worker: _Worker) -> None:
        """Gives Dask a task that starts the worker's process and minds it."""
        assignment = Assignment(self._order, worker.number, str(self._folder), str(self._token), self._name)
        worker.host = worker.pid = worker.outcome = worker.error = None
        key = f"{self._name}-worker-{worker.number}-{uuid.uuid4().hex[:4]}"
        worker.future = self._cluster.submit(hold, assignment, key, self._machines)

    def _is_over(self, worker: _Worker) -> bool:
        """Says whether a task has ended, and fetches what came of it."""
        if worker.is_known_over or worker.future.status == "pending":
            return worker.is_known_over
        if worker.future.cancelled():  # with the connection, which is there again
            worker.outcome = Outcome(left=True)
            return True
        try:
            worker.outcome = worker.future.result(timeout=ANSWER_S)
        except TimeoutError:
            return False  # who has the result is just dying: Dask runs the task again
        except self._cluster.dask.KilledWorker:
            worker.error = "one Dask worker after another was lost with it"
        except Exception as error:
            worker.error = reason_of(error)
        return True

    def _replace(self, worker: _Worker, recover: Callable[[], object]) -> bool:
        """Puts another worker in the place of one that ended too early, and says whether it did."""
        outcome = worker.outcome
        if outcome is not None and outcome.unseen:
            self._machines = self._cluster.seeing(self._token, self._order.data, self._say)
            if self._machines == []:
                return False
        elif outcome is None or not outcome.left:
            if worker.restarts > MAX_RESTARTS or (outcome is not None and outcome.code in (0, UNUSABLE)):
                return False
            worker.restarts += 1
            recover()
            replaced = worker.restarts <= MAX_RESTARTS
            self._report(worker, describe_exit(outcome.code) if outcome is not None else str(worker.error), replaced)
            if not replaced:
                return False
        self._submit(worker)
        return True

    def _report(self, worker: _Worker, why: str, replaced: bool) -> None:
        follow_up = "another takes its place" if replaced else "it is not replaced again"
        self._say(f"worker {worker.number} died ({why}); {follow_up}. Its log: {worker.log}")

    def _hear(self, recover: Callable[[], object]) -> None:
        """Takes notice of the worker processes that began."""
        with contextlib.suppress(queue.Empty):
            while True:
                news = self._begun.get_nowait()
                worker = self._workers[news["number"]]
                if worker.host is not None:  # it began a second time, and nobody had missed it
                    self._miss(worker, recover)
                worker.host, worker.pid = news["host"], news["pid"]

    def _miss(self, worker: _Worker, recover: Callable[[], object]) -> None:
        recover()
        self._report(worker, f"its Dask worker {worker.host} is gone", replaced=True)
        worker.host = worker.pid = None

    def _keep_in_touch(self, recover: Callable[[], object]) -> None:
        """Tells the tasks that this process lives, and looks which of the Dask workers do."""
        self._beaten = time.monotonic()
        try:
            self._tell(NO)
            present = self._cluster.keep(self.count)
        except StudyError as error:
            if time.monotonic() - self._answered > _LOST_S:
                self._gone = str(error)
            return
        self._answered = time.monotonic()
        for worker in self._workers:
            if worker.host is not None and worker.host not in present and not self._is_over(worker):
                self._miss(worker, recover)

    def _tell(self, wish: int) -> None:
        self._beat += 1
        news = {"beat": self._beat, "wish": wish, "left_s": self._left_s()}
        if self._channel is not None:
            self._channel(news)

    def _close(self) -> None:
        self._cluster.close()
        shutil.rmtree(self._own, ignore_errors=True)
