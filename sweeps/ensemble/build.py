"""From a study's trials to its ensemble: chosen, weighed, scored once on the test images, saved, tracked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from mnistnn.data import Dataset
from mnistnn.data.dataset import count_openings
from mnistnn.errors import InputError, OutputError
from mnistnn.files import sha256_bytes
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.choice import Choice, choose
from sweeps.ensemble.likeness import training_likeness
from sweeps.ensemble.members import load_network
from sweeps.ensemble.pools import Source
from sweeps.ensemble.record import RECORD, EnsembleReport, load_report, read_report
from sweeps.ensemble.report import FILES, copy_file, write_files
from sweeps.ensemble.scoring import counted, evaluate
from sweeps.ensemble.tracking import deliver_trials, track
from sweeps.errors import StudyError, TrackingError
from sweeps.paths import Paths, StudyPaths
from sweeps.study.locks import FileLock
from sweeps.tracking.address import resolve_uri

if TYPE_CHECKING:
    from sweeps.config import StudyConfig

__all__ = ["Asked", "Echo", "build_ensemble", "choose_members", "to_stderr"]

Echo = Callable[[str], object]
#: Draws an ensemble into a folder, which holds its predictions, and returns the names of the pictures.
Draw = Callable[[EnsembleReport, Path], Sequence[str]]


def to_stderr(line: str) -> None:
    """Shows a line of progress, which is not a result."""
    print(line, file=sys.stderr, flush=True)


class Asked(TypedDict, total=False):
    """What may be asked of an ensemble's members; what is not named goes by the study.

    Attributes:
        top: how many of the best trials to take; by default the study's `ensemble.top`, or as many as there are.
        method: "mean", "weighted", "greedy" or "auto".
        stage: "search", "final", or "auto", the default: the final stage's members if there are any.
        others: more studies that members come from; the ensemble is the first one's.
        numbers: the trials to take instead of the best, by their studies' names.
        add: files of models from outside, as `outside` describes them.
        tta: by how many pixels to shift for the views that members average.
        snapshots: whether snapshots of the chosen trials are members too.
        storage_url: where the trials are; by default the study's own journal.
    """

    top: int | None
    method: str | None
    stage: str
    others: Sequence[StudyConfig]
    numbers: Mapping[str, Sequence[int]] | None
    add: Sequence[Path]
    tta: int | None
    snapshots: bool | None
    storage_url: str | None


def build_ensemble(
    config: StudyConfig,
    *,
    root: Path,
    dataset: Dataset,
    tracking_uri: str | None = None,
    draw: Draw | None = None,
    echo: Echo = to_stderr,
    **asked: Unpack[Asked],
) -> EnsembleReport:
    """Builds the study's ensemble from its best trials, scores it, tracks it and makes it the study's champion.

    Members are chosen and weighed, and the temperature is found, by what they predicted for images that they were not
    trained on: the validation images, or those that a member of the final stage left out. Only then the test images are
    opened, once; an ensemble that was built before is not scored again. All is saved under `studies/NAME/ensemble/`.

    Args:
        config: the study. What it says of the ensemble counts; all else is as the study was last run.
        root: the project's folder.
        dataset: what the study was run on.
        tracking_uri: MLflow's store; by default the project's own.
        draw: makes the pictures of an ensemble that has none yet.
        echo: takes lines of progress.
        asked: of its members.

    Returns:
        The report, with all openings of the test images so far. If MLflow is away, it stands all the same, and its
        `untracked` says why; another call delivers it.

    Raises:
        StudyError: no trial finished, fewer than `top` did, one of `numbers` did not, or a study saw other data.
        DataError: a file of `add` cannot be used.
        CheckpointError: a member's predictions or weights are missing or damaged.
        OutputError: the results cannot be written.
    """
    paths = Paths(root).study(config.name)
    chosen, config = choose_members(config, root=root, dataset=dataset, **asked)
    folder = paths.ensemble / sha256_bytes(f"{chosen.method} {chosen.ensemble.digest}".encode())[:12]
    lock = FileLock(paths.ensemble / "build.lock")
    try:
        lock.acquire(wait=True)
    except OSError as error:
        raise OutputError(
            f"a study's folder must be writable, but {paths.ensemble} is not ({error.strerror}); see to its rights."
        ) from error
    try:
        report = _known(folder, chosen.ensemble, dataset)
        count = len(chosen.ensemble.members)
        if report is None:
            echo(f"ensemble of {count}: scoring on {dataset.test_count:,} test images")
            report = evaluate(chosen, dataset, folder, Paths(root).test_ledger)
        else:
            echo(f"ensemble of {count}: as it was before; the test images were not opened again")
        report = replace(
            report,
            members=counted(report.members, chosen.evidence),
            considered=chosen.considered,
            finished=chosen.finished,
            stage=chosen.stage,
            methods=chosen.scores,
            tta_gain=chosen.tta_gain,
            is_named=chosen.is_named,
            carried=chosen.carried,
        )
        training_likeness(dataset.digest, Paths(root).data, lambda: dataset)  # for `submit`, which may not find it
        if draw is not None and not any(folder.glob("*.png")):
            _draw(report, folder, draw, echo)
        if (before := _standing(paths)) is not None and before.digest != report.digest:
            echo(f"it takes the place of the {before.title} of {before.time[:16]}, which its own call brings back.")
        report = _save_and_track(report, folder, config, dataset, tracking_uri, root)
        # The record keeps how many openings there were up to its own; who reads of it now wants all.
        openings = max(report.test_openings, count_openings(Paths(root).test_ledger, dataset.digest))
        return replace(report, test_openings=openings)
    finally:
        lock.release()


def choose_members(
    config: StudyConfig, *, root: Path, dataset: Dataset, keep: bool = True, **asked: Unpack[Asked]
) -> tuple[Choice, StudyConfig]:
    """Chooses what `build_ensemble` would score and save. No test image is opened.

    Args:
        config: the study, as `build_ensemble` takes it.
        root: the project's folder.
        dataset: what the study was run on.
        keep: whether to keep copies of models from outside, which an ensemble needs. Without, nothing is written.
        asked: of the members.

    Returns:
        The choice, and the study as it was last run.

    Raises:
        StudyError, DataError, CheckpointError: as `build_ensemble` says.
    """
    paths, storage_url = Paths(root).study(config.name), asked.get("storage_url")
    first, *more = (
        _source(each, StudyPaths(paths.folder.with_name(each.name)), dataset, storage_url)
        for each in (config, *asked.get("others", ()))
    )
    config = first.config
    tta, snapshots = asked.get("tta"), asked.get("snapshots")
    chosen = choose(
        first.study,
        config,
        first.paths,
        top=asked.get("top"),
        method=asked.get("method"),
        dataset=dataset,
        stage=asked.get("stage", "auto"),
        compare=True,
        others=more,
        numbers=asked.get("numbers"),
        add=asked.get("add", ()),
        tta=config.ensemble.tta if tta is None else tta,
        snapshots=config.ensemble.snapshots if snapshots is None else snapshots,
        keep=keep,
    )
    for member in chosen.ensemble.members:
        if not member.outside:
            load_network(member, first.paths)  # what is damaged shall be found before the test images are opened
    return chosen, config


def _source(config: StudyConfig, paths: StudyPaths, dataset: Dataset, storage_url: str | None) -> Source:
    """Returns a study that members come from, by the seed and all else that it was last run with.

    Raises:
        StudyError: it was run on other data.
    """
    from sweeps.study.lookup import config_of
    from sweeps.study.storage import load_study

    study = load_study(config.name, storage_url, paths)
    seen = str(study.user_attrs.get("data_digest", dataset.digest))
    if seen != dataset.digest:
        raise StudyError(
            f"study {config.name!r} must be evaluated on the data it was run on (digest {seen[:12]}), but got other "
            f"data ({dataset.digest[:12]}); name the same --data-dir."
        )
    return Source(study, config_of(study).model_copy(update={"ensemble": config.ensemble}), paths)


def _known(folder: Path, ensemble: Ensemble, dataset: Dataset) -> EnsembleReport | None:
    """Returns the report on this very ensemble, if it was built before and all its files are there."""
    if not all((folder / name).is_file() for name in FILES):
        return None
    try:
        report = read_report(folder / RECORD, ensemble.study)
    except InputError:  # damaged: it is made again
        return None
    same = report.ensemble(ensemble.paths).digest == ensemble.digest and report.data["digest"] == dataset.digest
    return report if same else None


def _standing(paths: StudyPaths) -> EnsembleReport | None:
    """Returns the report on the ensemble that the study has so far, if there is a whole one."""
    try:
        return load_report(paths)
    except InputError:
        return None


def _draw(report: EnsembleReport, folder: Path, draw: Draw, echo: Echo) -> None:
    """Draws the ensemble, which is whole without pictures."""
    try:
        draw(report, folder)
    except Exception as error:  # matplotlib's, Pillow's, a full disk
        reason = next(iter(str(error).splitlines()), "")
        echo(f"warning: the ensemble was not drawn ({type(error).__name__}: {reason}).")


def _save_and_track(
    report: EnsembleReport, folder: Path, config: StudyConfig, dataset: Dataset, tracking_uri: str | None, root: Path
) -> EnsembleReport:
    """Saves the report and makes it the study's, whatever becomes of the tracking."""
    paths = Paths(root).study(config.name)
    untracked: str | None = None
    try:
        uri = resolve_uri(tracking_uri, root)
        report = deliver_trials(report, uri=uri, root=root, paths=paths)
    except TrackingError as error:
        untracked = str(error)
    write_files(report, folder)
    pictures = sorted(path.name for path in folder.glob("*.png"))
    for path in paths.ensemble.glob("*.png"):
        if path.name not in pictures:  # it shows another ensemble
            path.unlink(missing_ok=True)
    for name in (*pictures, *FILES):
        copy_file(folder / name, paths.ensemble / name)
    if untracked is None:
        try:
            return track(report, folder, FILES, pictures, config, dataset, uri=uri, root=root, paths=paths)
        except TrackingError as error:
            untracked = str(error)
    reason = f"the ensemble of study {report.study!r} was built and saved, but not tracked: {untracked}"
    return replace(report, untracked=reason)
