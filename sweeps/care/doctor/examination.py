"""The examination: check after check, each on what the ones before it have mended."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sweeps.care.doctor import events, leftovers, places, results, runs, trials
from sweeps.care.doctor.findings import Finding, Report
from sweeps.care.doctor.scene import Scene
from sweeps.care.hold import hold_files
from sweeps.config import StudyConfig
from sweeps.errors import TrackingError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.locks import FileLock, is_held
from sweeps.study.storage import bind_folder, load_study
from sweeps.tracking.address import resolve_uri

__all__ = ["examine"]

Check = Callable[[Scene], list[Finding]]

#: What belongs together: a group is looked at when all before it has been mended.
_GROUPS: Sequence[Sequence[Check]] = (
    (trials.check_workers,),
    (trials.check_chains, trials.check_folders),
    (events.check_records, events.check_study_record),
    (runs.check_lost,),
    (events.check_delivery,),
    (runs.check_states, runs.check_orphans),
)


def examine(
    config: StudyConfig,
    *,
    root: Path,
    storage_url: str | None = None,
    tracking_uri: str | None = None,
    fix: bool = False,
    quiet: bool = False,
    echo: Callable[[str], None] = lambda line: None,
) -> Report:
    """Holds a study's trials, files, runs and artifacts against each other.

    Args:
        config: the study.
        root: the project's folder.
        storage_url: an Optuna URL or a journal's path; by default the study's own journal.
        tracking_uri: MLflow's store; by default the project's own.
        fix: whether to mend what is found; else nothing at all is written.
        quiet: True shows no bar of progress.
        echo: takes a line that the user should read at once.

    Raises:
        StudyError: there is no such study, its storage does not open, or its files are held by another verb.
        TrackingError: there cannot be such a tracking store.
    """
    paths = Paths(root).study(config.name)
    uri = resolve_uri(tracking_uri, root)
    report = Report(config.name, fix)
    with hold_files(config.name, paths) if fix else contextlib.nullcontext(), _alone(paths, fix) as is_running:
        _take(report, places.check_journal(storage_url, paths))
        study = load_study(config.name, storage_url, paths)
        if paths.identity.exists():
            bind_folder(study, paths)  # which only compares them then: another storage's trials are not these
        scene = Scene(config, root, paths, uri, study, is_running, echo)
        try:
            _take(report, places.check_place(uri, root, is_running=is_running))
            scene.moved = places.moved_from(uri, root)
        except TrackingError as error:
            report.unseen = str(error)
        scene.look()
        for group in _GROUPS:
            found = [finding for check in group for finding in check(scene)]
            if _take(report, found):
                scene.look()
        for check in _slow_checks(len(scene.trials), quiet):
            if _take(report, check(scene)):
                scene.look_at_trials()
        _take(report, [*leftovers.check_temporaries(scene), *places.check_ensemble(scene)])
        report.trials, report.in_work = len(scene.trials), len(scene.busy)
        report.runs = None if scene.unseen is not None else sum(not run.is_deleted for run in scene.runs.values())
        report.unseen = scene.unseen or report.unseen
    return report


def _take(report: Report, found: list[Finding]) -> bool:
    """Adds findings to the report, and mends them if that is asked for. Returns whether anything was changed."""
    report.findings += found
    if report.fix:
        for finding in found:
            finding.fix()
    return any(finding.outcome for finding in found)


def _slow_checks(count: int, quiet: bool) -> Iterator[Check]:
    """Yields the checks that read whole files, which show how far they are."""
    from tqdm import tqdm

    with tqdm(total=2 * count, unit="trial", desc="files", leave=False, disable=True if quiet else None) as bar:
        yield partial(results.check_results, seen=bar.update)
        yield partial(leftovers.check_checkpoints, seen=bar.update)


@contextlib.contextmanager
def _alone(paths: StudyPaths, fix: bool) -> Iterator[bool]:
    """Keeps a `run` from beginning while the study is mended. Yields whether one is at work already."""
    if not fix:
        yield is_held(paths.lock)
        return
    lock = FileLock(paths.lock)
    if not lock.acquire():
        yield True
        return
    try:
        lock.note(f"{os.getpid()}\n")
        yield False
    finally:
        lock.release()
