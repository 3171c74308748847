"""`import`: a study out of an archive, whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from sweeps.care.archive.container import Entry, Member, copy_out, list_members, read_manifest, read_small
from sweeps.care.archive.contents import CONFIG, JOURNAL, is_study_file
from sweeps.care.archive.export import FORMAT
from sweeps.care.archive.places import filled, place, staging, taken
from sweeps.care.archive.rename import rename_events, rename_snapshot, rename_toml, update_records
from sweeps.care.archive.snapshot import Snapshot
from sweeps.care.delivery import deliver
from sweeps.config import load_study
from sweeps.config.fault import shown
from sweeps.config.sections import NAME_PATTERN
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.budget import Tally

__all__ = ["MAX_BYTES", "Imported", "import_study"]

#: What the files of an archive may have together, unless the call says otherwise.
MAX_BYTES = 20_000_000_000

_LARGEST_JOURNAL = 1 << 26


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made.

    Attributes:
        study: the study's name here.
        source: its name in the archive.
        files: how many files it has.
        complete: how many of its trials are complete.
        pruned: pruned.
        failed: failed.
        waiting: how many the next `run` goes on with.
        has_ensemble: whether it has one.
        undelivered: how many events MLflow has not taken yet.
        reason: why, or None.
    """

    study: str
    source: str
    files: int
    complete: int
    pruned: int
    failed: int
    waiting: int
    has_ensemble: bool
    undelivered: int
    reason: str | None

    def text(self) -> str:
        """Returns it for a terminal."""
        trials = f"{self.complete} complete, {self.pruned} pruned, {self.failed} failed, {self.waiting} to go on with"
        lines = [
            f"study    {self.study}" + (f", exported as {self.source}" if self.study != self.source else ""),
            f"holds    {self.files:,} files",
            f"trials   {trials}",
        ]
        if self.undelivered:
            lines.append(f"mlflow   {self.undelivered:,} events wait for the next `run {self.study}` ({self.reason})")
        else:
            lines.append("mlflow   has its runs")
        if self.has_ensemble:
            lines.append(
                f"next     `ensemble {self.study}` registers its ensemble here; no test image is opened for it"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def import_study(
    archive: Path,
    *,
    root: Path,
    name: str | None = None,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    max_bytes: int = MAX_BYTES,
    echo: Callable[[str], object] = lambda line: None,
) -> Imported:
    """Makes a study of an archive, and delivers its events to MLflow.

    All is unpacked beside the studies and checked there, and takes its place by a rename; a kill leaves nothing that
    counts. What was at work when it was exported is queued again by the first `run`, and goes on from its checkpoint.

    Args:
        archive: what `export` wrote.
        root: the project's folder.
        name: what the study shall be called here; by default as it was.
        storage_url: where its trials shall be; by default in a journal of its own.
        tracking_uri: MLflow's store; by default the project's own.
        max_bytes: what its files may have together.
        echo: takes lines of progress.

    Raises:
        StudyError: the archive is none, is damaged or holds what it should not, or there is such a study already.
        ConfigError: the study's file, or the name, breaks a rule.
        OutputError: the study cannot be written.
    """
    paths = Paths(root)
    try:
        file = open(archive, "rb")  # noqa: SIM115  # closed below; only the opening may fail so
    except OSError as error:
        raise StudyError(
            f"an archive must be a file that can be read, but {archive} is not ({error.strerror}); correct the path."
        ) from error
    with file:
        if not file.seekable():
            raise StudyError(f"an archive must be a plain file, but {archive} is not; copy it to a disk first.")
        members = list_members(file, is_study_file, max_bytes)
        facts, entries = read_manifest(file, members, FORMAT)
        source = _checked_name(facts.get("study"))
        name = _checked_name(name or source)
        target = paths.study(name)
        if os.path.lexists(target.folder):
            raise taken(name)
        for needed in (CONFIG, JOURNAL):
            if needed not in members:
                raise StudyError(f"an archive must hold {needed}, but this one does not; export it again.")
        snapshot = Snapshot.parse(read_small(file, members[JOURNAL], _LARGEST_JOURNAL))
        if snapshot.name != source:
            raise StudyError("an archive's journal must be its study's, but is another's; export it again.")
        _check_trials(snapshot, members)
        _check_room(paths.studies, members)
        with staging(paths, name) as staged:
            echo(f"unpacking {len(entries):,} files")
            for each, entry in entries.items():
                _unpack(file, each, members[each], entry, staged.folder / each)
            toml = _take_config(staged.folder / CONFIG, source, name, root)
            snapshot = _make_own(snapshot, staged, name)
            if storage_url is None:
                with atomic_write(staged.journal) as journal:
                    journal.write(snapshot.journal())
                place(staged.folder, target.folder, toml)
            else:
                staged.journal.unlink()
                with filled(storage_url, target, snapshot):
                    place(staged.folder, target.folder, toml)
    undelivered, reason = deliver(name, target, root=root, tracking_uri=tracking_uri, echo=echo)
    update_records(target, name)
    tally = Tally.of(snapshot.trials)
    return Imported(
        study=name,
        source=source,
        files=len(entries),
        complete=tally.complete,
        pruned=tally.pruned,
        failed=tally.failed,
        waiting=tally.waiting + tally.running,
        has_ensemble=any(each.startswith("ensemble/") for each in entries),
        undelivered=undelivered,
        reason=reason,
    )


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise StudyError(
            f"a study's name must be letters, digits, - and _, at most 100, the first no sign, but got {shown(name)}; "
            "name it by --as NAME."
        )
    return name


def _check_trials(snapshot: Snapshot, members: Mapping[str, Member]) -> None:
    """Sees that the files are those of the journal's trials: another trial would take them for its own."""
    known = {f"{origin:05d}" for origin in snapshot.current}
    for name in members:
        parts = name.split("/")
        if parts[0] == "trials" and parts[1] not in known:
            raise StudyError(
                f"an archive must hold the files of its journal's trials, but {name} is of none; export it again."
            )


def _check_room(studies: Path, members: Mapping[str, Member]) -> None:
    needed = sum(member.size for member in members.values())
    free = shutil.disk_usage(next(parent for parent in (studies, *studies.parents) if parent.is_dir())).free
    if needed > free:
        raise OutputError(
            f"a study must have room, but {studies} has {free / 1e6:,.0f} MB left of the {needed / 1e6:,.0f} MB that "
            "this one takes; make room and import it again."
        )


def _unpack(file: Any, name: str, member: Member, entry: Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as out:
        copy_out(file, name, member, entry.sha256, out)
        out.flush()
        os.fsync(out.fileno())


def _take_config(unpacked: Path, source: str, name: str, root: Path) -> tuple[Path, str] | None:
    """Checks the study's file.

    Returns:
        Where it shall stand and what it shall say; None if it is there already: git may have brought it.

    Raises:
        ConfigError: it breaks a rule, or the one that is there says something else.
    """
    config = load_study(unpacked, root=root, overrides=[f'study.name="{name}"'])
    text = unpacked.read_bytes().decode()
    unpacked.unlink()
    toml = Paths(root).studies / f"{name}.toml"
    if not os.path.lexists(toml):
        return toml, text if name == source else rename_toml(text, name)
    known = load_study(toml, root=root)
    if known.name != name or known.space_hash != config.space_hash:
        changes = "; ".join(config.space_difference(known.to_dict())[:3]) or f"its name is {known.name!r}"
        raise ConfigError(
            f"studies/{name}.toml must be the imported study's, but is another's ({changes}); "
            "move it away, or give the study another name with --as NAME."
        )
    return None


def _make_own(snapshot: Snapshot, staged: StudyPaths, name: str) -> Snapshot:
    """Returns the study as it is here: under its name, and tied to this folder; the unpacked files likewise."""
    if name != snapshot.name:
        rename_events(staged, snapshot.name, name)
        snapshot = rename_snapshot(snapshot, name)
    update_records(staged, name)
    identity = os.urandom(8).hex()  # not the original's: that may go on elsewhere, with other trials
    with atomic_write(staged.identity, "w") as file:
        file.write(f"{identity}\n")
    return snapshot.with_attrs(folder_id=identity)
