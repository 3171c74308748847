"""The one door to MLflow: a thread that delivers the events of a study's runs, now or, if MLflow is away, later."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mnistnn.errors import OutputError
from sweeps.errors import TrackingError
from sweeps.tracking import store
from sweeps.tracking.address import public, reason_of, sqlite_path
from sweeps.tracking.cursor import Cursor, pending_events, run_id_of
from sweeps.tracking.events import EVENTS
from sweeps.tracking.runs import Target, deliver

__all__ = ["Shipper", "run_id_of", "ship_folder"]

PARENT = "parent"  # the folder of the study's own run, as in StudyPaths

_BACKOFF_S = (0.5, 10.0)  # the first pause after a failure, and the longest

Warn = Callable[[str], None]


class Shipper:
    """Delivers the events of all runs in a folder: its own, those of its folders, and those of their folders.

    The run in `parent/` goes first and becomes the parent of the others, so its start is to be recorded before theirs.
    Several processes may deliver the same folder: each run is delivered by one of them at a time.
    """

    def __init__(
        self,
        uri: str,
        root: Path,
        experiment: str,
        folder: Path,
        *,
        note: str = "",
        parent: str | None = None,
        deep: bool = True,
        warn: Warn | None = None,
        poll_s: float = 1.0,
        delay_s: float = 0.0,
    ) -> None:
        """Does nothing yet.

        Args:
            uri: the tracking store.
            root: the project.
            experiment: the experiment's name; it is made if it is not there.
            folder: the study's folder, or that of many runs, or of one.
            note: Markdown for the experiment.
            parent: the id of the parent run of all, where no `parent/` says so.
            deep: whether to look into the folder's folders.
            warn: takes the few lines that a user should read; stderr by default.
            poll_s: the pause between two looks at the files.
            delay_s: how long the thread waits before it imports MLflow, which takes a core for two seconds.
        """
        self.uri, self.root, self.name, self.folder, self.note = uri, Path(root), experiment, Path(folder), note
        self._parent, self._deep = parent, deep
        self._warn = warn or _to_stderr
        self._poll_s, self._delay_s = poll_s, delay_s
        self._target: Target | None = None
        self._identity: str | None = None  # of the experiment that was delivered to last
        self._inode: int | None = None
        self._reached: dict[str, int] = {}  # folder → delivered bytes
        self._away = False
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._deadline = float("inf")

    def start(self) -> None:
        """Starts the thread. Whatever happens in it stays in it."""
        self._thread = threading.Thread(target=self._work, name="shipper", daemon=True)
        self._thread.start()

    def pending(self) -> int:
        """Returns how many events wait to be delivered."""
        waiting = self._waiting()
        return sum(pending_events(Path(folder), self._identity) for folder in waiting)

    def close(self, timeout_s: float = 30.0) -> int:
        """Delivers what is there, for as long as `timeout_s`, and ends the thread.

        Returns:
            How many events could not be delivered. They stay, and the next Shipper on this folder delivers them.
        """
        self._deadline = time.monotonic() + timeout_s
        self._closing.set()
        if self._thread is None:
            self._work()
        else:
            self._thread.join(timeout_s + 0.5)
        return self.pending()

    def drain(self, timeout_s: float = 30.0) -> int:
        """Delivers what is there, in this thread. Returns, as `close`, how many events could not be delivered."""
        return self.close(timeout_s)

    def _work(self) -> None:
        self._closing.wait(self._delay_s)
        pause = _BACKOFF_S[0]
        while True:
            closing = self._closing.is_set()  # before looking: what is recorded until close() is delivered
            left = self._try_pass()
            if closing and (left == 0 or time.monotonic() >= self._deadline):
                return
            pause = _BACKOFF_S[0] if left is not None else min(2 * pause, _BACKOFF_S[1])
            wait = self._poll_s if left is not None else pause
            if closing:
                time.sleep(max(0.0, min(wait, 1.0, self._deadline - time.monotonic())))
            else:
                self._closing.wait(wait)

    def _try_pass(self) -> int | None:
        """Looks at all folders once. Returns how many could not be delivered yet, or None if MLflow is away."""
        try:
            left = self._pass()
        except Exception as error:  # MLflow's, SQLAlchemy's, requests', the file system's: all may pass
            self._target = None
            store.disconnect(self.uri)
            if not self._away:
                self._away = True
                what = f"the tracking store {public(self.uri)} is away ({reason_of(error, self.uri)})."
                what = str(error) if isinstance(error, (TrackingError, OutputError)) else what
                then = "there is room" if isinstance(error, OutputError) else "it is back"
                self._say(f"warning: {what} Events are kept in {self.folder} and sent when {then}.")
            return None
        if self._away:
            self._away = False
            self._say(f"the tracking store {public(self.uri)} is back, and has all events.")
        return left

    def _pass(self) -> int:
        if not self._waiting():
            return 0
        target = self._connect()
        blocked = 0
        for folder in self._waiting():  # again: another store has nothing yet
            path = Path(folder)
            parent = self._parent if self._parent else self._parent_of(path, target)
            reached = deliver(target, path, parent, self._say) if parent != "" else None
            if reached is None:
                blocked += 1  # by another process, or by a parent that has no run yet
            else:
                self._reached[folder] = reached
        return blocked

    def _parent_of(self, folder: Path, target: Target) -> str | None:
        """Returns the parent's run id; None if there is no parent, "" if there is one but it has no run yet."""
        parent = self.folder / PARENT
        if folder == parent or not _size(parent):
            return None
        cursor = Cursor.load(parent)
        return (cursor.run_id or "") if cursor.store == target.identity else ""

    def _connect(self) -> Target:
        path = sqlite_path(self.uri)
        # If it has gone, FileNotFoundError says so here; MLflow would make an empty one in its place.
        if self._inode is not None and path is not None and path.stat().st_ino != self._inode:
            store.disconnect(self.uri)  # its connections still write to the old file
            self._target = None
        if self._target is None:
            store.prepare(self.uri, self.root)
            mlflow = store.client(self.uri)
            found = store.experiment(mlflow, self.uri, self.root, self.name, self.note)
            if found.identity != self._identity:
                self._identity = found.identity
                self._reached.clear()
            self._target = Target(mlflow, found.experiment_id, found.identity)
            self._inode = path.stat().st_ino if path is not None else None
        return self._target

    def _waiting(self) -> list[str]:
        """Returns the folders whose events were not all delivered, the parent's first. A study may have thousands."""
        folders = [os.fspath(self.folder)]
        if self._deep:
            outer = _folders_in(folders[0])
            folders += outer + [path for folder in outer for path in _folders_in(folder)]
        reached = self._reached
        waiting = [path for path in folders if (size := _size(path)) and size != reached.get(path)]
        parent = os.path.join(folders[0], PARENT)
        return sorted(waiting, key=lambda path: (path != parent, path))

    def _say(self, line: str) -> None:
        with contextlib.suppress(Exception):  # a terminal that has gone is no reason to stop
            self._warn(line)


def ship_folder(
    uri: str, root: Path, experiment: str, folder: Path, parent: str | None = None, timeout_s: float = 60.0
) -> str:
    """Delivers the events of one run, and waits for it.

    Args:
        uri: the tracking store.
        root: the project.
        experiment: the experiment's name.
        folder: the run's folder.
        parent: the id of the parent run, if it shall have one.
        timeout_s: how long to try.

    Returns:
        The id of the run.

    Raises:
        TrackingError: the store is away; the events stay, and are delivered by the next call.
    """
    reasons: list[str] = []
    shipper = Shipper(uri, root, experiment, folder, parent=parent, deep=False, warn=reasons.append)
    left = shipper.drain(timeout_s)
    run_id = run_id_of(folder)
    if left or run_id is None:
        reason = reasons[0] if reasons else f"the events in {folder} hold no start"
        raise TrackingError(reason.removeprefix("warning: "))
    for line in reasons:
        _to_stderr(line)
    return run_id


def _size(folder: str | Path) -> int:
    try:
        return os.stat(os.path.join(folder, EVENTS)).st_size
    except OSError:
        return 0


def _folders_in(folder: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
