"""A Dask cluster that a study's workers run on: reached, or made on this machine; and what its machines see."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sweeps.errors import StudyError
from sweeps.tracking.address import public, reason_of
from sweeps.workers.dask_task import look, versions

__all__ = ["ANSWER_S", "DaskCluster"]

Result = TypeVar("Result")

#: How long a scheduler may take to answer.
ANSWER_S = 5.0

_CONNECT_S = 8.0


class DaskCluster:
    """A connection to a cluster.

    Args:
        scheduler: its address; None for a cluster of this process's own, which `start` makes.

    Raises:
        StudyError: Dask is not installed, or the scheduler does not answer.
    """

    def __init__(self, scheduler: str | None) -> None:
        try:
            import distributed
        except ImportError:
            raise StudyError(
                "--executor dask must find Dask, but it is not installed; pip install 'mnist-sweeps[cluster]'."
            ) from None
        _silence()
        self.dask: Any = distributed
        self.is_own = scheduler is None
        self.name = "this machine's own" if scheduler is None else public(scheduler)
        self._own: Any = None
        self._variable: Any = None
        self.client: Any = None if scheduler is None else self._connect(scheduler)

    def start(self, count: int, folder: Path) -> None:
        """Makes a cluster of `count` processes on this machine, if it is not one that was there.

        Args:
            count: how many workers of one thread.
            folder: where they may keep what they need.

        Raises:
            StudyError: they do not start.
        """
        if not self.is_own:
            return
        # Ctrl-C reaches all processes of a terminal. These start with it blocked, as does the thread that starts them
        # again, until `dask_setup` has put a handler in its place.
        with _blocked(signal.SIGINT, signal.SIGHUP):
            try:
                self._own = self.dask.LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address=None,
                    security=True,  # with keys of its own: no other user of the machine may give it tasks
                    silence_logs=logging.CRITICAL,
                    local_directory=str(folder),
                    memory_limit=0,  # Dask would only see its own process's
                    preload=["sweeps.workers.dask_task"],
                )
            except (ImportError, OSError, RuntimeError) as error:
                raise StudyError(f"a Dask cluster must start here, but did not ({reason_of(error)}).") from error
            self.client = self._connect(self._own)

    @property
    def is_connected(self) -> bool:
        """Whether the scheduler is there, as far as it is known."""
        return bool(self.client.status == "running")

    def threads(self) -> dict[str, int]:
        """Returns the addresses of the workers that are there, and how many threads each has.

        Raises:
            StudyError: the scheduler has gone, as in all that follows.
        """
        found: dict[str, int] = self._ask(lambda: self.client.nthreads(callback_timeout=ANSWER_S))
        return found

    def keep(self, count: int) -> dict[str, int]:
        """Returns what `threads` does, and has missing ones of `count` started again, if the cluster is ours.

        A nanny starts its worker again by itself. But 15 s after a loss the cluster gives up the nanny of a worker that
        is not there at that moment, even if that is because of another loss, from which it is just coming back.
        """
        present = self.threads()
        if self._own is not None and len(present) < count:
            self._ask(lambda: self._own.scale(count))  # which leaves those alone that are coming
        return present

    def channel(self, name: str, hear: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
        """Opens a way to the tasks of this name, and back.

        Args:
            name: of a Variable and a topic.
            hear: takes what tasks say, in another thread.

        Returns:
            What tells all tasks something, those to come as well.
        """
        self._variable = variable = self.dask.Variable(name, client=self.client)
        self._ask(lambda: self.client.subscribe_topic(name, lambda event: hear(event[1])))
        return lambda news: self._ask(lambda: variable.set(news, timeout=ANSWER_S, callback_timeout=ANSWER_S))

    def submit(self, task: Callable[[Any], Any], argument: object, key: str, machines: list[str] | None) -> Any:
        """Gives Dask a task, for any of `machines` where they are given. Returns its future."""
        return self._ask(lambda: self.client.submit(task, argument, key=key, workers=machines, pure=False))

    def seeing(self, token: Path, data: str, say: Callable[[str], None]) -> list[str] | None:
        """Returns the machines that see what workers need; None if all do, so that those to come may work too.

        Args:
            token: a file in the study's folder that was just made.
            data: the data set's place.
            say: takes a line about each that does not, and about other versions than here.
        """
        answers = self._ask(lambda: self.client.run(look, str(token), data, on_error="return"))
        blind: dict[str, str] = {}
        others: dict[str, str] = {}
        here = versions()
        for address, answer in sorted(answers.items()):
            if isinstance(answer, BaseException):
                blind[_machine(address)] = reason_of(answer)
                continue
            if answer["unseen"] is not None:
                blind[_machine(address)] = f"they do not see {answer['unseen']}"
            there = answer["versions"]
            if odd := [
                f"{key} {there[key]}, not {here[key]}" for key in here if there.get(key, here[key]) != here[key]
            ]:
                others[", ".join(odd)] = address
        for machine, why in blind.items():
            say(f"the Dask workers on {machine} are left out: {why}.")
        for odds, address in others.items():
            say(f"the Dask worker {address} has {odds}; the same trial may end in other weights there.")
        return sorted({_machine(address) for address in answers} - blind.keys()) if blind else None

    def close(self) -> None:
        """Leaves the cluster, and ends it if it is this process's own."""
        with contextlib.suppress(Exception):  # of what is on its way out anyhow
            if self._variable is not None:
                self._variable.delete()
        for part in (self.client, self._own):
            with contextlib.suppress(Exception):
                if part is not None:
                    part.close(timeout=ANSWER_S)
        self.client = self._own = None

    def _ask(self, question: Callable[[], Result]) -> Result:
        try:
            return question()
        except Exception as error:  # whatever a client finds in the place of its scheduler: there is no common kind
            raise StudyError(
                f"the Dask scheduler must answer, but {self.name} does not any more; start it again."
            ) from error

    def _connect(self, target: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of versions that differ, which `seeing` says in one line
                return self.dask.Client(target, timeout=_CONNECT_S, set_as_default=False, name="sweeps")
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise StudyError(
                f"the Dask scheduler must answer, but {self.name} did not ({reason_of(error)}); start it "
                "(dask scheduler), or name another with --scheduler."
            ) from None


def _machine(address: str) -> str:
    """Returns the machine's part of an address such as tcp://10.0.0.3:39871."""
    from distributed.comm.addressing import get_address_host

    return str(get_address_host(address))


def _silence() -> None:
    """Keeps Dask's own log away from the display: what matters of it is said in one line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _blocked(*numbers: signal.Signals) -> Iterator[None]:
    """Holds signals back until the end."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
