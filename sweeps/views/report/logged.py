"""The report, and other pages on a study, as artifacts of the study's own run in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from sweeps.care.delivery import deliver
from sweeps.paths import StudyPaths
from sweeps.study.locks import FileLock
from sweeps.tracking.events import EVENTS, TrialLog, parse

__all__ = ["KEPT", "keep_and_log"]

#: The report's file among those of the study's own run.
KEPT = "report.html"


def keep_and_log(
    page: str,
    name: str,
    paths: StudyPaths,
    *,
    root: Path,
    tracking_uri: str | None,
    echo: Callable[[str], object],
    file_name: str = KEPT,
) -> str:
    """Keeps the page in the study's folder, and sees that the study's run in MLflow has it.

    Args:
        page: the report, or another page on the study.
        name: the study's.
        paths: its paths.
        root: the project's folder.
        tracking_uri: MLflow's store; by default the project's own.
        echo: takes lines of progress.
        file_name: what the page is called there.

    Returns:
        Why MLflow does not have it yet; "" if it does.

    Raises:
        OutputError: the study's folder cannot be written.
    """
    kept = paths.parent / file_name
    data = page.encode()
    lock = FileLock(paths.lock)
    try:
        is_ours = lock.acquire()
    except OSError as error:
        raise OutputError(
            f"a study's folder must be writable, but {paths.folder} is not ({error.strerror}); see to its rights."
        ) from error
    try:
        is_known = _was_logged(paths.parent, file_name) and kept.is_file() and kept.read_bytes() == data
        if not is_known:
            with atomic_write(kept) as file:
                file.write(data)
        if not is_ours:  # the sweep that is at work writes these events
            return "a sweep is at work on the study; call it again when that has ended"
        if TrialLog.first_start(paths.parent) is None:
            return "the study has no run of its own"
        if not is_known:
            with TrialLog(paths.parent) as log:
                log.artifact(file_name)
    finally:
        lock.release()
    undelivered, reason = deliver(name, paths, root=root, tracking_uri=tracking_uri, echo=echo)
    return f"{undelivered:,} events wait for the next `run` or `report` ({reason})" if undelivered else ""


def _was_logged(folder: Path, file_name: str) -> bool:
    """Says whether the run's events name the page."""
    try:
        lines = (folder / EVENTS).read_bytes().splitlines()
    except OSError:
        return False
    events = (parse(line) for line in lines if file_name.encode() in line)
    return any(event is not None and event["kind"] == "artifact" and event["file"] == file_name for event in events)
