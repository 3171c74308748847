"""A study's runs in MLflow, delivered by who is no `run`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sweeps.errors import TrackingError
from sweeps.paths import StudyPaths
from sweeps.tracking.address import check_reachable, resolve_uri
from sweeps.tracking.notes import experiment_note
from sweeps.tracking.shipper import Shipper
from sweeps.tracking.store import experiment_name

__all__ = ["deliver"]

_DRAIN_S = 600.0


def deliver(
    name: str, paths: StudyPaths, *, root: Path, tracking_uri: str | None, echo: Callable[[str], object]
) -> tuple[int, str | None]:
    """Sends the events of a study to MLflow.

    Args:
        name: the study's.
        paths: its paths.
        root: the project's folder.
        tracking_uri: MLflow's store; by default the project's own.
        echo: takes lines of progress, and what MLflow refuses.

    Returns:
        How many events were not taken, and why. They stay, and the next `run` sends them.
    """
    reasons: list[str] = []

    def warn(line: str) -> None:
        reasons.append(line)
        echo(line)

    uri = resolve_uri(tracking_uri, root)
    shipper = Shipper(uri, root, experiment_name(name), paths.folder, note=experiment_note(name), warn=warn)
    waiting = shipper.pending()
    if not waiting:
        return 0, None
    echo(f"sending {waiting:,} events to MLflow")
    try:
        check_reachable(uri)
    except TrackingError as error:
        return waiting, str(error).rstrip(".")
    began = time.monotonic()
    left = shipper.drain(_DRAIN_S)
    if left and not reasons and time.monotonic() - began < _DRAIN_S:
        return 0, None  # what is left was recorded meanwhile, by a sweep that delivers it
    return left, (
        reasons[0].removeprefix("warning: ").rstrip(".") if reasons else "they took too long"
    ) if left else None
