"""Where a study's trials are kept: Optuna's journal in a file, or a database; and what a study remembers of itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mnistnn.files import atomic_write
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.journal import check_journal, journal_path, open_journal
from sweeps.study.liveness import HEARTBEAT_S
from sweeps.study.sound import check_trials
from sweeps.tracking.address import public, reason_of, sqlite_path

if TYPE_CHECKING:
    from sweeps.config import StudyConfig

__all__ = [
    "bind_folder",
    "join_study",
    "load_study",
    "open_storage",
    "open_study",
    "origin_of",
]

optuna.logging.set_verbosity(optuna.logging.WARNING)

Result = TypeVar("Result")

_SHOWN_DIFFERENCES = 4


def open_storage(
    url: str | None, paths: StudyPaths, *, heartbeat_s: int = HEARTBEAT_S, read_only: bool = False
) -> BaseStorage:
    """Opens the storage of a study.

    Args:
        url: an Optuna URL (sqlite:///…, postgresql+psycopg://…), the path of a journal, or None for the study's own.
        paths: the study's paths.
        heartbeat_s: seconds between two signs of life of a worker, in a database.
        read_only: whether a database, which must be there, shall refuse to be written; a journal that is there is
            written only by who has something to say.

    Raises:
        StudyError: it cannot be opened.
    """
    journal = journal_path(url, paths)
    if journal is None:
        from sweeps.study.database import open_database, read_database

        if read_only:
            return _guarded(lambda: read_database(str(url)), str(url))
        return _guarded(lambda: open_database(str(url), heartbeat_s), str(url))
    check_journal(journal)
    return _guarded(lambda: open_journal(journal), str(journal))


def open_study(
    config: StudyConfig, storage: BaseStorage, data_digest: str, paths: StudyPaths | None = None
) -> optuna.Study:
    """Creates the study, or opens it if it is still the same one: same search space, same data.

    Only one process at a time may do so (the `run` that holds the study's lock): databases do not bear a creation
    by many at once.

    Args:
        config: the study.
        storage: its storage.
        data_digest: that of its data.
        paths: its paths; where its folder has another storage's trials already, no study is made in this one.

    Raises:
        StudyError: the study was made with another search space or with other data, or the folder is another one's.
        ConfigError: its limits leave nothing to be sampled.
    """
    from sweeps.study.arms import queue_arms, refuse_changed_arms
    from sweeps.study.sampler import check_possible

    study = _guarded(lambda: _load_or_create(config, storage, paths), f"study {config.name!r}")
    known = study.user_attrs
    if config.arms or not known.get("enqueued"):
        check_possible(config)  # before anything of this space is remembered
    _check_same(config, known, data_digest)
    refuse_changed_arms(study, config)
    for key, value in {"data_digest": data_digest, "config": config.to_dict(), "space_hash": config.space_hash}.items():
        if known.get(key) != value:
            study.set_user_attr(key, value)
    if not known.get("enqueued"):
        _enqueue(study, config)
        study.set_user_attr("enqueued", True)
    queue_arms(study, config)  # of which there may be more by now
    return study


def join_study(config: StudyConfig, storage: BaseStorage, data_digest: str) -> optuna.Study:
    """Opens a study that others work on too, and changes nothing.

    Raises:
        StudyError: nobody prepared it, or with another search space or other data.
    """

    def load() -> optuna.Study | None:
        try:
            return optuna.load_study(study_name=config.name, storage=storage)
        except KeyError:
            return None

    study = _guarded(load, f"study {config.name!r}")
    known = {} if study is None else study.user_attrs
    if study is None or not known.get("enqueued"):
        raise StudyError(
            f"study {config.name!r} must be prepared before workers join it, but its storage does not have it; "
            f"`init {config.name}` it once, with the same --storage."
        )
    _check_same(config, known, data_digest)
    return study


def _check_same(config: StudyConfig, known: dict[str, Any], data_digest: str) -> None:
    """Sees that what a study remembers of itself is what is asked for.

    Raises:
        StudyError: it is not.
    """
    if "space_hash" in known and known["space_hash"] != config.space_hash:
        changes = config.space_difference(known["config"])
        shown = "; ".join(changes[:_SHOWN_DIFFERENCES]) + (" …" if len(changes) > _SHOWN_DIFFERENCES else "")
        raise StudyError(
            f"the search space of study {config.name!r} must stay as it was begun, but got {shown}; "
            "undo the change or give the study another name."
        )
    if "data_digest" in known and known["data_digest"] != data_digest:
        raise StudyError(
            f"study {config.name!r} must see the data it was begun with (digest {known['data_digest'][:12]}), "
            f"but got other data ({data_digest[:12]}); name the same data by --data-dir or MNIST_DIR, "
            "or give the study another name."
        )


def bind_folder(study: optuna.Study, paths: StudyPaths) -> None:
    """Ties a study and its folder together, for good.

    A study of the same name in another storage counts its trials from 0 too: it would write over the files of these.

    Raises:
        StudyError: the folder belongs to another study.
        OutputError: the folder cannot be written.
    """
    known = study.user_attrs.get("folder_id")
    if _bound_to(paths) is None:
        if known is None:
            known = os.urandom(8).hex()
            study.set_user_attr("folder_id", known)
        with atomic_write(paths.identity, "w") as file:
            file.write(f"{known}\n")
    else:
        _check_bound(paths, known)


def _bound_to(paths: StudyPaths) -> str | None:
    """Returns which study a folder is tied to; None if it is to none yet."""
    try:
        return paths.identity.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None


def _check_bound(paths: StudyPaths, known: str | None) -> None:
    """Sees that a folder is tied to the study that is `known` by this, or to none.

    Raises:
        StudyError: it is another one's.
    """
    if _bound_to(paths) not in (None, known):
        raise StudyError(
            f"the trials in {paths.folder} must be those of the storage, but they belong to study "
            f"{paths.folder.name!r} in another one; name that with --storage, move the folder away, or give the "
            "study another name."
        )


def load_study(
    name: str,
    url: str | None,
    paths: StudyPaths,
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    heartbeat_s: int = HEARTBEAT_S,
    read_only: bool = False,
) -> optuna.Study:
    """Opens a study that is there already, and changes nothing; with `read_only` it cannot be changed either.

    Raises:
        StudyError: there is no such study yet, its storage cannot be opened, or its folder is that of another one.
    """
    missing = StudyError(f"study {name!r} must have been run before, but has no trials yet; start with `run {name}`.")
    file = journal_path(url, paths) or sqlite_path(url or "")
    if file is not None and not file.exists():  # opening it would make it
        _check_bound(paths, None)  # its trials may be in another storage, which `run` would ask for too
        raise missing
    storage = open_storage(url, paths, heartbeat_s=heartbeat_s, read_only=read_only)
    try:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
    except KeyError:
        _check_bound(paths, None)
        raise missing from None
    _check_bound(paths, study.user_attrs.get("folder_id"))
    check_trials(study)
    return study


def origin_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Returns the number under which a trial began: its folder, its seed and its run keep it over all attempts."""
    return int(trial.user_attrs.get("origin", trial.number))


def _guarded(open_it: Callable[[], Result], what: str) -> Result:
    """Calls `open_it`; whatever a driver raises becomes one line without the URL's password."""
    try:
        return open_it()
    except StudyError:
        raise
    except Exception as error:  # each driver has its own
        raise StudyError(
            f"a study's storage must be one that opens, but {public(what)} does not ({reason_of(error, what)}); "
            "check --storage."
        ) from error


def _load_or_create(config: StudyConfig, storage: BaseStorage, paths: StudyPaths | None) -> optuna.Study:
    try:  # a creation of what is there would leave a line in the journal each time
        return optuna.load_study(study_name=config.name, storage=storage)
    except KeyError:
        if paths is not None:
            _check_bound(paths, None)  # an empty study would be left in this storage, and be taken for the real one
        direction: Any = config.direction
        return optuna.create_study(study_name=config.name, storage=storage, direction=direction, load_if_exists=True)


def _enqueue(study: optuna.Study, config: StudyConfig) -> None:
    """Queues what comes first: every point of a grid, or the baselines. What is queued already is left alone."""
    from sweeps.study.grid import grid_points
    from sweeps.study.space import Space

    space = Space(config)
    queued = [trial.user_attrs for trial in study.get_trials(deepcopy=False)]
    for preset in config.baselines:
        values, overrides = space.preset_values(preset)
        attributes: dict[str, Any] = {"role": "baseline", "preset": preset, "overrides": overrides}
        if attributes not in [{key: known.get(key) for key in attributes} for known in queued]:
            study.enqueue_trial(values, user_attrs=attributes)
    if config.sampler.type == "grid":
        points = {known.get("point") for known in queued}
        for point, values in enumerate(grid_points(space)):
            if point not in points:
                study.enqueue_trial(values, user_attrs={"point": point})
