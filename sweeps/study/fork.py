"""A new study out of another one: its configuration with changes, and all trials that fit it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from sweeps.config import StudyConfig
from sweeps.config.fault import shown
from sweeps.config.file import derive_study
from sweeps.config.sections import NAME_PATTERN
from sweeps.config.toml import to_toml
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.lineage import EXTENDS, FINAL, REPEATS
from sweeps.study.locks import FileLock
from sweeps.study.lookup import config_of
from sweeps.study.storage import bind_folder, load_study, open_storage, open_study, origin_of
from sweeps.study.transfer import Transfer, Unfit, bring_files

__all__ = ["Forked", "fork"]

# In the folder of a study that is being made: what a kill leaves of it is no study, and is made anew.
_UNFINISHED = "fork.json"
# In its storage, likewise: which making it was.
_FORK_ID = "fork_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A study that was made from another one.

    Attributes:
        study: its name.
        source: the other one's.
        file: its file.
        trials: how many the other one had.
        complete: how many complete trials were imported.
        pruned: how many pruned ones.
        left_out: why the others were not, and how many for each reason.
        waiting: how many trials wait in it: baselines that were not imported, and what is left of a grid.
    """

    study: str
    source: str
    file: str
    trials: int
    complete: int
    pruned: int
    left_out: dict[str, int]
    waiting: int

    def __str__(self) -> str:
        count = self.complete + self.pruned
        lines = [
            f"forked    {self.study} from {self.source}, in {self.file}",
            f"imported  {count} of {self.trials} trials: {self.complete} complete, {self.pruned} pruned",
        ]
        if self.left_out:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            lines.append(f"left out  {reasons}")
        waiting = f" Trials that wait in it: {self.waiting}." if self.waiting else ""
        lines.append(f"next      run {self.study}; what was imported does not count towards its budget.{waiting}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def fork(
    source: StudyConfig,
    name: str,
    *,
    root: Path,
    overrides: Sequence[str] = (),
    storage_url: str | None = None,
    record: Callable[[StudyConfig, StudyPaths, Sequence[FrozenTrial]], object] = lambda config, paths, trials: None,
    echo: Callable[[str], object] = lambda line: None,
) -> Forked:
    """Makes study `name` of another one, with changes, and imports all of its ended trials that still fit.

    A trial fits if all of its values lie in the new space, and within its limits, and seed, epochs and what it was
    judged by are the same. The source may be running; nothing of it changes. The study's file is written last, and by
    it the study is there: what a kill leaves before is cleared away by the same call.

    Args:
        source: the study as its file has it; its configuration is the one that it was last run with.
        name: what the new study is called.
        root: the project's folder.
        overrides: "dotted.key=value" each, over the source's configuration.
        storage_url: the storage of both, if it is not a journal in each one's folder.
        record: called with the new study's configuration, paths and trials before it counts, to begin its own run.
        echo: takes lines of progress.

    Raises:
        ConfigError: the name or a change breaks a rule.
        StudyError: there is such a study already, or the source was never run.
        OutputError: the disk cannot be written.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(
            f"a study's name must be letters, digits, - and _, at most 100, the first no sign, but got {shown(name)}; "
            "choose another one."
        )
    paths = Paths(root)
    theirs = load_study(source.name, storage_url, paths.study(source.name))
    begun_with = config_of(theirs)
    config, tables = derive_study(begun_with, name, overrides)
    text = _header(source.name, overrides) + to_toml(tables)
    file = paths.studies / f"{name}.toml"
    with _making(name, paths, storage_url) as (storage, fork_id):
        ours = optuna.create_study(study_name=name, storage=storage, direction=config.direction)
        ours.set_user_attr(_FORK_ID, fork_id)
        bind_folder(ours, paths.study(name))
        left_out, counts, seen = _import(theirs, ours, begun_with, config, paths, echo)
        open_study(config, storage, theirs.user_attrs["data_digest"])
        made = ours.get_trials(deepcopy=False)
        record(config, paths.study(name), made)
        with atomic_write(file, "w") as written:
            written.write(text)
    return Forked(
        study=name,
        source=source.name,
        file=f"{paths.studies.name}/{file.name}",
        trials=seen,
        complete=counts[TrialState.COMPLETE],
        pruned=counts[TrialState.PRUNED],
        left_out=dict(left_out.most_common()),
        waiting=sum(trial.state == TrialState.WAITING for trial in made),
    )


def _import(
    theirs: optuna.Study,
    ours: optuna.Study,
    source: StudyConfig,
    config: StudyConfig,
    paths: Paths,
    echo: Callable[[str], object],
) -> tuple[Counter[str], Counter[TrialState], int]:
    """Imports what fits; returns why the rest does not, the counts of what was imported, and of all."""
    transfer = Transfer(source, config)
    left_out: Counter[str] = Counter()
    counts: Counter[TrialState] = Counter()
    trials = [trial for trial in theirs.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued")]
    echo(f"importing from {len(trials)} trials of {source.name}")
    for trial in sorted(trials, key=origin_of):
        origin = origin_of(trial)
        try:
            made = transfer.fit(trial)
        except Unfit as unfit:
            left_out[str(unfit)] += 1
            continue
        number = transfer.add(ours, made, origin)
        bring_files(
            paths.study(source.name).trial(origin),
            paths.study(config.name).trial(number),
            origin=origin,
            number=number,
            config=config,
            born_in=source.name,
            extends=made.user_attrs.get(EXTENDS, {}).get("trial"),
            repeats=made.user_attrs.get(REPEATS, {}).get("trial"),
            final_of=made.user_attrs.get(FINAL, {}).get("of"),
        )
        counts[trial.state] += 1
    return left_out, counts, len(trials)


@contextlib.contextmanager
def _making(name: str, paths: Paths, storage_url: str | None) -> Iterator[tuple[BaseStorage, str]]:
    """Yields an empty storage and an id for a study that is being made; it is there if the block ends well.

    Raises:
        StudyError: there is such a study, or another process is making it.
    """
    ours, file = paths.study(name), paths.studies / f"{name}.toml"
    marker = ours.folder / _UNFINISHED
    if os.path.lexists(file):
        raise _taken(name, f"{paths.studies.name}/{file.name} is there")
    if _is_of_others(ours, marker):
        raise _taken(name, f"the folder {paths.studies.name}/{name}/ is there")
    lock = FileLock(ours.lock)
    try:
        if not lock.acquire():
            raise StudyError(f"one process at a time must make study {name!r}, but another one does; wait for it.")
    except OSError as error:
        raise _unwritable(ours.folder, error) from error
    try:
        if os.path.lexists(file) or _is_of_others(ours, marker):  # made since we looked
            raise _taken(name, "there is one")
        fork_id = _read_id(marker) or os.urandom(12).hex()
        with atomic_write(marker, "w") as written:
            json.dump({"id": fork_id}, written)
        try:
            _clear(ours, keep=(marker, ours.lock))
            storage = open_storage(storage_url, ours)
            _drop_left(storage, name, fork_id)
            yield storage, fork_id
        except BaseException:
            if not file.exists():
                with contextlib.suppress(Exception):
                    _drop_left(storage, name, fork_id)
                shutil.rmtree(ours.folder, ignore_errors=True)
            raise
        marker.unlink()
    except OSError as error:
        raise _unwritable(ours.folder, error) from error
    finally:
        lock.release()


def _is_of_others(paths: StudyPaths, marker: Path) -> bool:
    """Says whether a study's folder holds anything that no fork has left, which was killed or has just begun."""
    if marker.exists() or not os.path.lexists(paths.folder):
        return False
    if not paths.folder.is_dir():
        return True
    began = (paths.lock.name, f".{marker.name}.")  # a marker that was being written
    return any(not each.name.startswith(began) for each in paths.folder.iterdir())


def _read_id(marker: Path) -> str | None:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) else None


def _clear(paths: StudyPaths, keep: Sequence[Path]) -> None:
    for each in paths.folder.iterdir():
        if each in keep:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()


def _drop_left(storage: BaseStorage, name: str, fork_id: str) -> None:
    """Deletes what a killed fork of this id left of the study in a storage.

    Raises:
        StudyError: the storage has such a study, of another origin.
    """
    for known in storage.get_all_studies():
        if known.study_name != name:
            continue
        is_new = not known.user_attrs and not storage.get_n_trials(known._study_id)  # killed before it was marked
        if known.user_attrs.get(_FORK_ID) != fork_id and not is_new:
            raise _taken(name, "the storage has one of this name")
        storage.delete_study(known._study_id)


def _taken(name: str, why: str) -> StudyError:
    return StudyError(f"a study that is forked must be a new one, but of {name!r} {why} already; choose another name.")


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"a study must be writable, but {folder} is not ({error.strerror or error}); make room, and fork it again."
    )


def _header(source: str, overrides: Sequence[str]) -> str:
    changes = ", ".join(" ".join(override.split()) for override in overrides) or "no changes"
    lines = [
        f"Forked from study {source!r} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, with {changes}.",
        "It has the trials of that one that fit. The keys are explained in default.toml.",
    ]
    return "".join(f"# {line}\n" for line in lines) + "\n"
