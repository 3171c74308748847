"""What refers to a trial's files: a place among the best, ensembles, submissions, and trials that are still to come."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.care.archive.snapshot import Snapshot
from sweeps.ensemble.manifest import read_manifest
from sweeps.ensemble.record import RECORD, EnsembleReport, read_report
from sweeps.paths import StudyPaths
from sweeps.study.lineage import EXTENDS
from sweeps.study.storage import origin_of

__all__ = ["References", "find_references"]

_MANIFESTS = "*.manifest.json"


@dataclass(slots=True)
class References:
    """Which trials' files are wanted, by the numbers under which they began.

    Attributes:
        at_work: trials that wait or run: nothing of theirs is touched.
        best: the best trials: all of theirs stays.
        extended: trials that a trial at work goes on from: likewise.
        averaged: members of ensembles: their weights and predictions stay.
        submitted: members of ensembles that a submission's manifest names: likewise.
        old_ensembles: folders of ensembles that nothing refers to.
    """

    at_work: set[int] = field(default_factory=set)
    best: set[int] = field(default_factory=set)
    extended: set[int] = field(default_factory=set)
    averaged: set[int] = field(default_factory=set)
    submitted: set[int] = field(default_factory=set)
    old_ensembles: list[Path] = field(default_factory=list)

    @property
    def whole(self) -> set[int]:
        """Trials of which everything stays."""
        return self.best | self.extended

    @property
    def weights(self) -> set[int]:
        """Trials of which the weights and the predictions stay."""
        return self.whole | self.averaged | self.submitted


def find_references(
    snapshot: Snapshot, paths: StudyPaths, root: Path, *, keep: int, old_ensembles: bool, champion: str | None
) -> References:
    """Looks for all that refers to the files of a study's trials.

    Args:
        snapshot: the study.
        paths: its paths.
        root: the project's folder, at whose top submissions' manifests lie.
        keep: how many of the best trials keep everything.
        old_ensembles: whether an ensemble counts only if it is the last one, was submitted, or is the champion.
        champion: the digest of the ensemble that is the champion in MLflow's registry.

    Raises:
        CheckpointError: an ensemble's record is damaged, so that nobody knows what it refers to.
        ManifestError: a submission's manifest is.
    """
    found = References()
    current = snapshot.current
    found.at_work = {origin for origin, trial in current.items() if not trial.state.is_finished()}
    found.best = set(_best(current, snapshot.directions[0], keep))
    for origin in found.at_work:
        extended = current[origin].user_attrs.get(EXTENDS)
        if extended is not None and int(extended["trial"]) < len(snapshot.trials):
            found.extended.add(origin_of(snapshot.trials[int(extended["trial"])]))
    submitted = set()
    for path in sorted(root.glob(_MANIFESTS)):
        manifest = read_manifest(path)
        if manifest.study == snapshot.name:
            submitted.add(manifest.ensemble.digest)
        found.submitted |= {
            member.trial
            for member in manifest.ensemble.members
            if not member.outside and (member.study or manifest.study) == snapshot.name
        }
    latest = _record(paths.ensemble, snapshot.name)
    for folder, report in _ensembles(paths, snapshot.name):
        is_wanted = latest is None or report.digest in {latest.digest, champion, *submitted}
        if old_ensembles and not is_wanted:
            found.old_ensembles.append(folder)
        else:
            found.averaged |= _members(report, snapshot.name)
    if latest is not None:
        found.averaged |= _members(latest, snapshot.name)
    for study in paths.folder.parent.glob(f"*/{paths.ensemble.name}"):  # that blend trials of this one
        if study != paths.ensemble:
            for path in study.rglob(RECORD):
                found.averaged |= _members(read_report(path, study.parent.name), snapshot.name)
    return found


def _members(report: EnsembleReport, study: str) -> set[int]:
    """Returns which trials of a study an ensemble averages."""
    members = (each.member for each in report.members)
    return {each.number for each in members if not each.outside and (each.study or report.study) == study}


def _best(current: dict[int, FrozenTrial], direction: StudyDirection, keep: int) -> list[int]:
    """Returns the best of the complete trials, the first ones first where they are equal."""
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    ranked = sorted(
        (sign * trial.value if trial.value is not None and math.isfinite(trial.value) else math.inf, origin)
        for origin, trial in current.items()
        if trial.state == TrialState.COMPLETE
    )
    return [origin for _, origin in ranked[:keep]]


def _ensembles(paths: StudyPaths, name: str) -> Iterable[tuple[Path, EnsembleReport]]:
    for path in sorted(paths.ensemble.glob(f"[0-9a-f]*/{RECORD}")):
        yield path.parent, read_report(path, name)


def _record(folder: Path, name: str) -> EnsembleReport | None:
    return read_report(folder / RECORD, name) if (folder / RECORD).exists() else None
