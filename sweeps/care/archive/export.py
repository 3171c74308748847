"""`export`: a study as one file, for another machine or another place; while it runs, too."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from sweeps import provenance
from sweeps.care.archive.container import Entry, Writer
from sweeps.care.archive.contents import (
    CHECKPOINTS,
    CONFIG,
    JOURNAL,
    files_of_ensembles,
    files_of_parent,
    files_of_trial,
)
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.hold import hold_files
from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.budget import Tally
from sweeps.study.checkpoints import CHECKPOINT, FINAL
from sweeps.study.storage import load_study
from sweeps.tracking.cleaned import was_cleaned
from sweeps.tracking.events import EVENTS

__all__ = ["FORMAT", "Exported", "export_study"]

FORMAT = 1

_WEIGHTS = "weights.npz"
_SHOWN_WARNINGS = 5


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        study: the study's name.
        output: the archive.
        bytes: its size.
        files: how many files it holds.
        complete: how many trials in it are complete.
        pruned: pruned.
        failed: failed.
        waiting: how many go on where it is imported: those that waited, and those that were at work.
        warnings: what its reader should know.
    """

    study: str
    output: str
    bytes: int
    files: int
    complete: int
    pruned: int
    failed: int
    waiting: int
    warnings: tuple[str, ...]

    def text(self) -> str:
        """Returns it for a terminal."""
        trials = f"{self.complete} complete, {self.pruned} pruned, {self.failed} failed, {self.waiting} to go on with"
        return "\n".join(
            [
                f"archive  {self.output}",
                f"holds    {self.files:,} files, {self.bytes / 1e6:.1f} MB",
                f"trials   {trials}",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def export_study(
    config: StudyConfig,
    toml: Path,
    *,
    paths: StudyPaths,
    output: Path,
    storage_url: str | None = None,
    echo: Callable[[str], object] = lambda line: None,
) -> Exported:
    """Writes a study into one archive. Nothing else changes, and it may be at work.

    The trials are read first, then the files. A worker writes files first and tells of them then, so all that the
    copied trials tell of is in the archive; what began later is left out.

    Args:
        config: the study.
        toml: its file.
        paths: its paths.
        output: the archive.
        storage_url: where its trials are; in the archive they are a journal.
        echo: takes warnings.

    Raises:
        StudyError: it has no trials yet, or is being cleaned.
        OutputError: the archive cannot be written, or would not have room.
    """
    with hold_files(config.name, paths, only_read=True):
        snapshot = Snapshot.of(load_study(config.name, storage_url, paths))
        journal = snapshot.journal()
        for left in output.absolute().parent.glob(f".{glob.escape(output.name)}.*.tmp"):  # by one that was killed
            left.unlink(missing_ok=True)
        _check_room(paths, output)
        with atomic_write(output) as file:
            writer = Writer(file)
            copier = _Copier(writer)
            copier.add_bytes(CONFIG, toml.read_bytes())
            copier.add_bytes(JOURNAL, journal)
            copier.add_all(files_of_parent(paths))
            warnings: list[str] = []
            for origin, trial in sorted(snapshot.current.items()):
                copier.add_trial(paths, origin, has_ended=trial.state.is_finished())
                if trial.state == TrialState.COMPLETE:
                    warnings += _check_weights(paths, origin, trial.user_attrs.get("weights_sha256"), writer.entries)
            copier.add_all(files_of_ensembles(paths))
            facts = {
                "format": FORMAT,
                "study": config.name,
                "trials": len(snapshot.current),
                "data_digest": snapshot.user_attrs.get("data_digest"),
                "versions": provenance.versions(),
                "commit": provenance.commit(),
            }
            writer.close(facts)
    if len(warnings) > _SHOWN_WARNINGS:
        warnings[_SHOWN_WARNINGS:] = [f"{len(warnings) - _SHOWN_WARNINGS} more trials are like that."]
    for line in warnings:
        echo(f"warning: {line}")
    tally = Tally.of(snapshot.trials)
    return Exported(
        study=config.name,
        output=str(output),
        bytes=output.stat().st_size,
        files=len(writer.entries),
        complete=tally.complete,
        pruned=tally.pruned,
        failed=tally.failed,
        waiting=tally.waiting + tally.running,
        warnings=tuple(warnings),
    )


class _Copier:
    """Copies files that others may be replacing, appending to or removing."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def add_bytes(self, name: str, data: bytes) -> None:
        self._writer.add(name, io.BytesIO(data), len(data))

    def add(self, name: str, path: Path) -> bool:
        """Adds a file as it is now. Returns False if it is not there any more."""
        try:
            source = open(path, "rb")  # noqa: SIM115  # what is opened stays whole, whatever takes its place
        except FileNotFoundError:
            return False
        with source:
            if path.name == EVENTS:
                data = source.read()
                self.add_bytes(name, data[: data.rfind(b"\n") + 1])  # a line is being written
            else:
                self._writer.add(name, source, os.fstat(source.fileno()).st_size)
        return True

    def add_all(self, files: Iterable[tuple[str, Path]]) -> None:
        for name, path in files:
            self.add(name, path)

    def add_trial(self, paths: StudyPaths, origin: int, *, has_ended: bool) -> None:
        """Adds a trial's files; where it had not ended when the trials were read, with what it goes on from."""
        self.add_all((name, path) for name, path in files_of_trial(paths, origin) if has_ended or path.name != FINAL)
        if has_ended:
            return
        folder = paths.trial(origin)
        prefix = f"trials/{origin:05d}"
        added = [self.add(f"{prefix}/{name}", folder / name) for name in CHECKPOINTS]
        if not any(added):
            self.add(f"{prefix}/{CHECKPOINT}", folder / FINAL)  # it ended in the meantime: that was its checkpoint


def _check_weights(paths: StudyPaths, origin: int, sha256: Any, entries: dict[str, Entry]) -> list[str]:
    """Returns what is wrong with the weights of a complete trial."""
    entry = entries.get(f"trials/{origin:05d}/{_WEIGHTS}")
    if entry is None and was_cleaned(paths.trial(origin), _WEIGHTS):
        return []
    if entry is None:
        return [f"trial {origin} has no {_WEIGHTS}; `doctor` tells more."]
    if entry.sha256 != sha256:
        return [f"trial {origin} has not the {_WEIGHTS} that it ended with; `doctor` tells more."]
    return []


def _check_room(paths: StudyPaths, output: Path) -> None:
    """Sees that the archive will have room, before it takes any.

    Raises:
        OutputError: it will not.
    """
    folder = next(parent for parent in output.absolute().parents if parent.is_dir())
    needed = sum(_sizes(paths.folder))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"the archive must have room, but {folder} has {free / 1e6:,.0f} MB left of the {needed / 1e6:,.0f} MB "
            "that it may take; make room, or name another place with --output."
        )


def _sizes(folder: Path) -> Iterator[int]:
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # what was a temporary file
                yield Path(root, name).stat().st_size
