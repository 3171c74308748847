"""Files about a study that are artifacts of its own run in MLflow, and kept beside that run's events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from sweeps.care.delivery import deliver
from sweeps.paths import StudyPaths
from sweeps.study.locks import FileLock
from sweeps.tracking.events import EVENTS, TrialLog, parse

__all__ = ["keep_and_log"]


def keep_and_log(
    files: Mapping[str, bytes],
    name: str,
    paths: StudyPaths,
    *,
    root: Path,
    tracking_uri: str | None,
    echo: Callable[[str], object],
    folders: Mapping[str, str] | None = None,
    more: Callable[[TrialLog], object] = lambda log: None,
) -> str:
    """Keeps files in the study's folder, and sees that the study's run in MLflow has them.

    Args:
        files: their bytes, by name. Where all are there already, nothing is recorded again.
        name: the study's.
        paths: its paths.
        root: the project's folder.
        tracking_uri: MLflow's store; by default the project's own.
        echo: takes lines of progress.
        folders: where MLflow shall show some of the files, by name; others come first.
        more: records what else goes with files that are new.

    Returns:
        Why MLflow does not have them yet; "" if it does.

    Raises:
        OutputError: the study's folder cannot be written.
    """
    lock = FileLock(paths.lock)
    try:
        is_ours = lock.acquire()
    except OSError as error:
        raise OutputError(
            f"a study's folder must be writable, but {paths.folder} is not ({error.strerror}); see to its rights."
        ) from error
    try:
        logged = _logged(paths.parent)
        new = [each for each, data in files.items() if each not in logged or not _holds(paths.parent / each, data)]
        for each in new:
            with atomic_write(paths.parent / each) as file:
                file.write(files[each])
        if not is_ours:  # the sweep that is at work writes these events
            return "a sweep is at work on the study; call it again when that has ended"
        if TrialLog.first_start(paths.parent) is None:
            return "the study has no run of its own"
        if new:
            with TrialLog(paths.parent) as log:
                for each in new:
                    log.artifact(each, (folders or {}).get(each, ""))
                more(log)
    finally:
        lock.release()
    undelivered, reason = deliver(name, paths, root=root, tracking_uri=tracking_uri, echo=echo)
    return f"{undelivered:,} events wait for the next `run` or `report` ({reason})" if undelivered else ""


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _logged(folder: Path) -> set[str]:
    """Returns the files that the run's events name."""
    try:
        lines = (folder / EVENTS).read_bytes().splitlines()
    except OSError:
        return set()
    events = (parse(line) for line in lines if b'"artifact"' in line)
    return {event["file"] for event in events if event is not None and event["kind"] == "artifact"}
