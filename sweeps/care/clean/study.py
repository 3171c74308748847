"""`clean`: frees what nothing refers to, of a study that may be running."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mnistnn.errors import OutputError
from mnistnn.files import sha256_file
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.clean.artifacts import WEIGHTS, Artifacts
from sweeps.care.clean.references import References, find_references
from sweeps.care.clean.removal import Removal
from sweeps.care.clean.report import Cleaned
from sweeps.care.delivery import deliver
from sweeps.care.hold import hold_files
from sweeps.config import StudyConfig
from sweeps.errors import StudyError, TrackingError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.checkpoints import CHECKPOINT, FINAL, PREVIOUS
from sweeps.study.locks import FileLock
from sweeps.study.snapshots import snapshot_files
from sweeps.study.storage import load_study
from sweeps.tracking.cleaned import cleaned_files, note_cleaned
from sweeps.tracking.events import EVENTS, STATES, TrialLog, parse

__all__ = ["clean_study"]

_LAST_STATE = {FINAL: "finals"}
_CHECKPOINTS = {CHECKPOINT: "checkpoints", PREVIOUS: "checkpoints"}
_TAG = "cleaned"
_DOOMED = ".doomed-"


def clean_study(
    config: StudyConfig,
    *,
    root: Path,
    keep: int,
    dry_run: bool = False,
    old_ensembles: bool = False,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    echo: Callable[[str], object] = lambda line: None,
) -> Cleaned:
    """Frees the weights, predictions, last states and checkpoints of ended trials that nothing refers to.

    What a trial loses is written into its folder before, with digests, and its run in MLflow gets a tag. A kill at any
    moment does no harm; the next call goes on.

    Args:
        config: the study.
        root: the project's folder.
        keep: how many of the best trials keep everything.
        dry_run: True changes nothing, and says what would be freed.
        old_ensembles: whether ensembles are freed too that are not the last, not submitted and not the champion.
        storage_url: where the trials are; by default in the study's own journal.
        tracking_uri: MLflow's store; by default the project's own.
        echo: takes lines of progress.

    Raises:
        StudyError: there are no trials yet, or an export, another clean or the building of an ensemble is at work.
        CheckpointError: an ensemble's record is damaged, so that nobody knows what it refers to.
        TrackingError: `old_ensembles`, and MLflow does not say which is the champion.
        OutputError: something cannot be written or removed.
    """
    paths = Paths(root).study(config.name)
    snapshot_of = load_study(config.name, storage_url, paths)
    with contextlib.ExitStack() as locks:
        if not dry_run:
            locks.enter_context(hold_files(config.name, paths))
            locks.enter_context(_no_ensemble(config.name, paths))
        snapshot = Snapshot.of(snapshot_of)
        artifacts = Artifacts.open(tracking_uri, root, config.name)
        references = find_references(
            snapshot,
            paths,
            root,
            keep=keep,
            old_ensembles=old_ensembles,
            champion=artifacts.champion() if old_ensembles else None,
        )
        removal = Removal(dry_run)
        cleaner = _Cleaner(paths, removal, references)
        try:
            for origin, trial in sorted(snapshot.current.items()):
                cleaner.clean(origin, has_ended=trial.state.is_finished())
            for folder in references.old_ensembles:
                cleaner.drop(folder)
            cleaner.sweep()
        except OSError as error:
            raise OutputError(
                f"a study's files must be removable, but {error.filename or paths.folder} is not ({error.strerror}); "
                "see to its rights and clean again."
            ) from error
        notes: list[str] = []
        if cleaner.told:
            undelivered, reason = deliver(config.name, paths, root=root, tracking_uri=tracking_uri, echo=echo)
            if undelivered:
                notes.append(f"{undelivered} events wait for the next `run` ({reason}).")
        try:
            artifacts.clean({origin: paths.trial(origin) for origin in snapshot.current}, removal, cleaner.gone)
        except TrackingError as error:
            notes.append(f"MLflow's copies wait for the next `clean`: {error}")
    return Cleaned(
        study=config.name,
        dry_run=dry_run,
        keep=keep,
        freed=removal.freed,
        left=removal.left,
        trials=tuple(cleaner.cleaned),
        best=len(references.best),
        referred=len((references.weights - references.best) - references.at_work),
        at_work=len(references.at_work),
        busy=cleaner.busy,
        notes=(*notes, *artifacts.notes),
    )


class _Cleaner:
    """Goes over the folders of trials.

    Attributes:
        cleaned: trials that lost files in this call, or would have.
        gone: which files a trial has lost, or would have, in this call or an earlier one: so are MLflow's copies to go.
        told: whether runs have been told of it, now or by a call that may have found MLflow away.
        busy: trials that a process holds.
    """

    def __init__(self, paths: StudyPaths, removal: Removal, references: References) -> None:
        self._paths, self._removal, self._references = paths, removal, references
        self._dry_run = removal.dry_run
        self.cleaned: list[int] = []
        self.gone: dict[int, set[str]] = {}
        self.told = False
        self.busy = 0

    def clean(self, origin: int, *, has_ended: bool) -> None:
        """Frees what a trial need not have, and counts the rest."""
        folder, refers = self._paths.trial(origin), self._references
        weights = WEIGHTS | {
            name: "predictions" if name.endswith(".probs.npz") else "weights" for name in snapshot_files(folder)
        }
        kinds = weights | _LAST_STATE | _CHECKPOINTS
        wanted: dict[str, str] = {}
        if has_ended and folder.is_dir():
            wanted |= _CHECKPOINTS
            wanted |= {} if origin in refers.whole else _LAST_STATE
            wanted |= {} if origin in refers.weights else weights
        lock = FileLock(folder / "lock")
        if wanted and not self._dry_run and not lock.acquire():
            self.busy += 1
            wanted = {}
        try:
            for name in kinds.keys() - wanted.keys():
                self._removal.keep(folder / name, kinds[name])
            if wanted:
                self._free(origin, folder, wanted)
        finally:
            lock.release()

    def _free(self, origin: int, folder: Path, wanted: dict[str, str]) -> None:
        present = [name for name in wanted if (folder / name).exists()]
        lasting = [name for name in present if name not in _CHECKPOINTS]
        if not self._dry_run:
            if lasting:
                note_cleaned(folder, {name: _entry(folder / name) for name in lasting})
            self._tell(folder)
        for name in present:
            self._removal.remove(folder / name, wanted[name])
        for path in _temporaries(folder):  # we hold the trial: nobody is writing them
            self._removal.remove(path, "temporaries")
        if lasting:
            self.cleaned.append(origin)
        names = (set(lasting) | cleaned_files(folder).keys()) & wanted.keys() & WEIGHTS.keys()
        if names:
            self.gone[origin] = names

    def _tell(self, folder: Path) -> None:
        """Lets the trial's run say what was cleaned, once."""
        text = ", ".join(sorted(cleaned_files(folder)))
        if not text or not (folder / EVENTS).exists():
            return
        self.told = True
        if _told(folder / EVENTS) == text:
            return
        with TrialLog(folder) as log:
            if log.state in STATES:
                log.tags({_TAG: text})

    def drop(self, folder: Path) -> None:
        """Frees an ensemble."""
        if not self._dry_run:
            doomed = folder.with_name(f"{_DOOMED}{folder.name}")  # never half there under its name
            os.rename(folder, doomed)
            folder = doomed
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._removal.remove(path, "ensembles")
        if not self._dry_run:
            shutil.rmtree(folder)

    def sweep(self) -> None:
        """Removes what a killed call left of ensembles, and counts those that stay."""
        for folder in self._paths.ensemble.glob("[0-9a-f]*"):
            if folder.is_dir() and folder not in self._references.old_ensembles:
                for path in folder.iterdir():
                    self._removal.keep(path, "ensembles")
        if not self._dry_run:
            for folder in self._paths.ensemble.glob(f"{_DOOMED}*"):
                shutil.rmtree(folder)


def _entry(path: Path) -> dict[str, object]:
    return {
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _temporaries(folder: Path) -> Sequence[Path]:
    """Returns what `atomic_write` was at when its process was killed."""
    return [path for path in folder.glob(".*.tmp") if not path.is_dir()]


def _told(path: Path) -> str | None:
    """Returns what the events say was cleaned."""
    told = None
    for line in path.read_bytes().splitlines():
        event = parse(line) if b'"tags"' in line else None
        if event is not None and _TAG in event.get("tags", {}):
            told = str(event["tags"][_TAG])
    return told


@contextlib.contextmanager
def _no_ensemble(name: str, paths: StudyPaths) -> Iterator[None]:
    """Keeps ensembles from being built: they read the files of trials that nothing refers to yet.

    Raises:
        StudyError: one is being built.
    """
    lock = FileLock(paths.ensemble / "build.lock")
    if not lock.acquire():
        raise StudyError(f"no ensemble must be in the making, but one of study {name!r} is; clean when it is built.")
    try:
        yield
    finally:
        lock.release()
