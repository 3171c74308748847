"""An ensemble's run in MLflow, and its place in the registry of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.ensemble.record import EnsembleReport
from sweeps.ensemble.report import as_markdown
from sweeps.errors import TrackingError
from sweeps.paths import StudyPaths
from sweeps.tracking.cursor import run_id_of
from sweeps.tracking.environment import environment_tags
from sweeps.tracking.events import EVENTS, STATES, Event, TrialLog, parse
from sweeps.tracking.models import Part, register_champion
from sweeps.tracking.shipper import Shipper, ship_folder
from sweeps.tracking.store import check_reachable, experiment_name

if TYPE_CHECKING:
    from mnistnn.data import Dataset
    from sweeps.config import StudyConfig

__all__ = ["deliver_trials", "track"]

_DRAIN_S = 60.0
_PICTURES = "pictures"  # where MLflow shows them


def deliver_trials(report: EnsembleReport, *, uri: str, root: Path, paths: StudyPaths) -> EnsembleReport:
    """Sees that the members' own runs are in MLflow, so that the ensemble's run can name them.

    Raises:
        TrackingError: the store is away.
    """
    check_reachable(uri)
    reasons: list[str] = []
    shipper = Shipper(uri, root, experiment_name(report.study), paths.folder, warn=reasons.append)
    shipper.drain(_DRAIN_S)
    members = tuple(
        each
        if each.member.outside
        else replace(each, member=replace(each.member, run_id=run_id_of(each.member.folder(paths))))
        for each in report.members
    )
    if reasons and any(each.member.run_id is None for each in members if each.member.is_own):
        raise TrackingError(reasons[0].removeprefix("warning: "))
    return replace(report, members=members)


def track(
    report: EnsembleReport,
    folder: Path,
    files: Sequence[str],
    pictures: Sequence[str],
    config: StudyConfig,
    dataset: Dataset,
    *,
    uri: str,
    root: Path,
    paths: StudyPaths,
) -> EnsembleReport:
    """Records the ensemble's run beside its files, delivers it, and registers the model.

    Args:
        report: what was found.
        folder: where the files lie.
        files: their names; each becomes an artifact.
        pictures: the names of those that MLflow shall show in a folder.
        config: the study's.
        dataset: whose validation and test images it was scored on.
        uri: the tracking store.
        root: the project.
        paths: the study's paths.

    Returns:
        The report with its run and its model.

    Raises:
        TrackingError: the store is away; what was recorded is delivered by the next call.
    """
    _record(report, folder, files, pictures, config, dataset)
    name = experiment_name(report.study)
    run_id = ship_folder(uri, root, name, folder, parent=run_id_of(paths.parent), timeout_s=_DRAIN_S)
    if any(each.member.outside for each in report.members):
        return replace(report, run_id=run_id)  # without all networks it is no model that could answer
    ensemble = report.ensemble(paths)
    version = register_champion(
        uri,
        name=name,
        run_id=run_id,
        digest=ensemble.digest,
        parts=[
            Part(
                each.member.file_name.removesuffix(".npz"),
                each.member.weights(paths),
                each.member.weights_sha256,
                each.weight,
            )
            for each in report.members
        ],
        params=_params(report),
        description=_description(report),
        temperature=report.temperature,
        tta=report.tta,
    )
    return replace(report, run_id=run_id, model=f"{name}, version {version}")


def _record(
    report: EnsembleReport,
    folder: Path,
    files: Sequence[str],
    pictures: Sequence[str],
    config: StudyConfig,
    dataset: Dataset,
) -> None:
    """Writes the run's events, once; later only that the members' runs are others, in another store, and pictures."""
    member_runs = ", ".join(each.member.run_id or "unknown" for each in report.members)
    with TrialLog(folder) as log:
        if log.state in STATES:
            if _told(folder, "member_runs") != member_runs:
                log.tags({"member_runs": member_runs})
            known = _artifacts(folder)
            for name in pictures:
                if name not in known:
                    log.artifact(name, _PICTURES)
            return
        gain = report.test_gain
        tags = environment_tags() | {
            "role": "ensemble",
            "study": report.study,
            "config_hash": config.hash,
            "seed": str(config.seed),
            "data": str(report.data["name"]),
            "data_digest": str(report.data["digest"]),
            "members": _numbers(report),
            "member_runs": member_runs,
            "test_openings": str(report.test_openings),
        }
        common = {"name": dataset.name, "digest": dataset.digest, "source": str(dataset.path)}
        parts = {"validation": report.chosen_by, "test": "test"}
        inputs = [common | {"rows": report.data[f"{key}_images"], "context": part} for key, part in parts.items()]
        log.start(report.title, _params(report), tags, inputs, note=as_markdown(report))
        for name in files:
            log.artifact(name)
        for name in pictures:
            log.artifact(name, _PICTURES)
        # Where validation images chose, named as a trial's results are, so that MLflow's table sorts all by one column.
        # An image that was left out has the answers of a few members, which is no figure of the ensemble's to sort by.
        part = "best_val" if report.chosen_by == "validation" else report.chosen_by.replace("-", "_")
        results = {
            f"{part}_accuracy": report.scores.val.accuracy,
            f"{part}_loss": report.scores.val.loss,
            "test_accuracy": report.scores.test.accuracy,
            "test_loss": report.scores.test.loss,
            "test_accuracy_gain": gain.accuracy.estimate,
            "test_accuracy_gain_low": gain.accuracy.low,
            "test_accuracy_gain_high": gain.accuracy.high,
        }
        log.end("COMPLETE", metrics=results)


def _description(report: EnsembleReport) -> str:
    val, test = report.scores.val.accuracy, report.scores.test.accuracy
    return f"{report.title}: {val:.2%} of the {report.chosen_by} images and {test:.2%} of the test images right."


def _told(folder: Path, tag: str) -> str | None:
    """Returns what the recorded events say of a tag in the end."""
    values = [event["tags"][tag] for event in _events(folder) if tag in event.get("tags", {})]
    return str(values[-1]) if values else None


def _artifacts(folder: Path) -> set[str]:
    """Returns which files the recorded events name."""
    return {event["file"] for event in _events(folder) if event["kind"] == "artifact"}


def _events(folder: Path) -> list[Event]:
    events = [parse(line) for line in (folder / EVENTS).read_bytes().splitlines()]
    return [event for event in events if event is not None]


def _params(report: EnsembleReport) -> dict[str, str]:
    return {
        "method": report.method,
        "members": _numbers(report),
        "weights": ", ".join(f"{each.weight:.3g}" for each in report.members),
        "considered": str(report.considered),
        "stage": report.stage,
        "temperature": f"{report.temperature:.4g}",
        "tta": str(report.tta),
    }


def _numbers(report: EnsembleReport) -> str:
    return ", ".join(each.member.name for each in report.members)
