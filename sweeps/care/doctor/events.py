"""Checks of what a study's folders have recorded of its runs, and whether MLflow has all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from sweeps.care.doctor.findings import Finding
from sweeps.care.doctor.records import DAMAGED, restore_record
from sweeps.care.doctor.scene import Scene
from sweeps.care.doctor.told import Told, read_told
from sweeps.errors import StudyError, TrackingError
from sweeps.study.lineage import IMPORTED
from sweeps.study.locks import FileLock
from sweeps.tracking.events import EVENTS, TrialLog
from sweeps.tracking.notes import experiment_note
from sweeps.tracking.store import experiment_name

__all__ = ["check_delivery", "check_records", "check_study_record", "holding", "wrong_with"]

_CHECK = "events"
_DRAIN_S = 120.0


def check_records(scene: Scene) -> list[Finding]:
    """Finds trials whose record is damaged, or does not say how they stand."""
    found: list[Finding] = []
    for number, trial, folder in scene.idle():
        told = scene.told(folder)
        if trial.user_attrs.get(IMPORTED) and not folder.exists():
            continue  # its run is another study's
        wrong = wrong_with(trial, told)
        if wrong is None:
            continue
        rewrites = bool(told.damaged) or trial.state.is_finished()
        mend: Callable[[], object] | None = partial(_mend, scene, number, rewrites)
        remedy = "it is called waiting"
        if told.damaged:
            remedy = f"they are made again; {DAMAGED} keeps what was there"
        elif rewrites:
            remedy = "what it lacks is made from the storage and the trial's folder"
        if rewrites and (scene.is_running or scene.unseen is not None):
            mend, remedy = None, "stop the `run` first" if scene.is_running else "MLflow must answer first"
        found.append(Finding(_CHECK, f"trial {number}", wrong, remedy, mend))
    return found


def check_study_record(scene: Scene) -> list[Finding]:
    """Finds the study's own run in a state that only a living `run` has; and damage in its record and others'."""
    found: list[Finding] = []
    told = scene.told(scene.paths.parent)
    if scene.is_running:
        return []
    if told.damaged:
        remedy = f"they are taken out; {DAMAGED} keeps what was there"
        mend = partial(restore_record, scene, None)
        found.append(Finding(_CHECK, "the study's own", _damage(told), remedy, mend))
    elif told.state == "running":
        found.append(
            Finding(
                _CHECK,
                "the study's own",
                "it is called running, but no `run` is alive",
                "it is called waiting",
                partial(_stop, scene.paths.parent, "the run died"),
            )
        )
    for folder in scene.others():
        if folder != scene.paths.parent and scene.told(folder).damaged:
            name = f"ensemble/{folder.name}"
            remedy = f"remove the folder, and build it again with `ensemble {scene.config.name}`"
            found.append(Finding(_CHECK, name, _damage(scene.told(folder)), remedy))
    return found


def check_delivery(scene: Scene) -> list[Finding]:
    """Finds events that MLflow does not have, and nobody is about to deliver."""
    if scene.unseen is not None or scene.is_running:
        return []
    objects = {
        folder: f"trial {number}"
        for number, trial, folder in scene.idle()
        if wrong_with(trial, scene.told(folder)) is None  # else that is mended first
    }
    objects |= {folder: _name_of(scene, folder) for folder in scene.others() if not _is_wrong(scene, folder)}
    pending = [folder for folder in objects if scene.told(folder).is_pending(scene.identity)]
    shipment = _Shipment(scene)
    return [
        Finding(
            _CHECK,
            objects[folder],
            "MLflow does not have all of its events",
            "they are delivered",
            partial(shipment.deliver, folder, len(pending)),
        )
        for folder in pending
    ]


def wrong_with(trial: FrozenTrial, told: Told) -> str | None:
    """Returns what is wrong with a trial's record, or None."""
    state = trial.state.name
    if told.damaged:
        return _damage(told)
    if trial.state.is_finished():
        if not told.key:
            return "it has ended, but no record of its run is left"
        return None if told.state == state else f"it has ended ({state}), but its record says {told.state}"
    # One that failed waits to be tried again, and is called failed meanwhile.
    if trial.state == TrialState.WAITING and told.state not in ("new", "waiting", "FAIL"):
        return f"it waits, but its record says {told.state}"
    return None


@contextlib.contextmanager
def holding(scene: Scene, number: int) -> Iterator[None]:
    """Holds a trial, so that no worker begins it meanwhile.

    Raises:
        StudyError: a worker has begun it.
    """
    lock = FileLock(scene.paths.trial(number) / "lock")
    if not lock.acquire():
        raise StudyError(f"a trial must not be in work to be mended, but {number} is by now; call this again.")
    try:
        yield
    finally:
        lock.release()


def _is_wrong(scene: Scene, folder: Path) -> bool:
    told = scene.told(folder)
    return bool(told.damaged) or (folder == scene.paths.parent and told.state == "running")


def _damage(told: Told) -> str:
    return f"{told.damaged} line{'' if told.damaged == 1 else 's'} of {EVENTS} damaged"


def _mend(scene: Scene, number: int, rewrites: bool) -> None:
    with holding(scene, number):
        if rewrites:
            restore_record(scene, number)
        else:
            _stop(scene.paths.trial(number), "its worker died")


def _stop(folder: Path, reason: str) -> None:
    with TrialLog(folder) as log:
        if log.state != "waiting":
            log.stop(reason)


def _name_of(scene: Scene, folder: Path) -> str:
    return "the study's own" if folder == scene.paths.parent else f"ensemble/{folder.name}"


class _Shipment:
    """Delivers all that waits, once, whoever asks first."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._reasons: list[str] | None = None

    def deliver(self, folder: Path, count: int) -> None:
        """Sees that the events in `folder`, one of so many, are delivered.

        Raises:
            TrackingError: they could not be.
        """
        if self._reasons is None:
            self._reasons = []
            self._scene.say(f"delivering the events of {count} run{'' if count == 1 else 's'} to MLflow …")
            self._drain(self._reasons)
        told = read_told(folder)
        if told.is_pending(told.cursor.store):
            reason = self._reasons[0] if self._reasons else "another process delivers them now"
            raise TrackingError(reason.removeprefix("warning: "))

    def _drain(self, reasons: list[str]) -> None:
        from sweeps.tracking.shipper import Shipper

        scene = self._scene
        name = scene.config.name
        shipper = Shipper(
            scene.uri,
            scene.root,
            experiment_name(name),
            scene.paths.folder,
            note=experiment_note(name),
            warn=reasons.append,
        )
        shipper.drain(_DRAIN_S)
        for line in reasons:
            scene.say(line)
