"""The pictures that a study's folder keeps, and where the study's own run finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from mnistnn.files import link_or_copy
from sweeps.ensemble.probs import PROBS
from sweeps.views.pictures import ensemble_pictures, study_pictures

if TYPE_CHECKING:
    import optuna

    from mnistnn.data import Dataset
    from sweeps.ensemble.record import EnsembleReport
    from sweeps.paths import StudyPaths

__all__ = ["keep_ensemble_pictures", "keep_study_pictures"]

Say = Callable[[str], object]


def keep_study_pictures(study: optuna.Study, paths: StudyPaths, say: Say, is_wanted: Callable[[], bool]) -> list[str]:
    """Draws a study into its folder, if a trial of it has ended.

    Args:
        study: the study.
        paths: its paths.
        say: takes a line on what was drawn.
        is_wanted: asked before each picture; False ends it there.

    Returns:
        The names of the pictures, which lie beside the events of the study's own run too: only what lies there can be
        delivered.

    Raises:
        OutputError: one cannot be written.
    """
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        return []
    left_out: list[str] = []
    files = study_pictures(study, paths, paths.pictures, say=left_out.append, is_wanted=is_wanted)
    for file in files:
        link_or_copy(file, paths.parent / file.name)
    if files:
        pictures = "1 picture is" if len(files) == 1 else f"{len(files)} pictures are"
        say(" ".join([f"{pictures} in studies/{paths.folder.name}/{paths.pictures.name}.", *map(_sentence, left_out)]))
    return [file.name for file in files]


def keep_ensemble_pictures(
    report: EnsembleReport, paths: StudyPaths, dataset: Dataset, folder: Path, *, seed: int, say: Say
) -> list[str]:
    """Draws an ensemble into its folder, and returns the names of the pictures.

    Args:
        report: on the ensemble.
        paths: the study's paths.
        dataset: whose validation images are shown.
        folder: the ensemble's, where its predictions lie.
        seed: the study's.
        say: takes a line on what cannot be drawn.

    Raises:
        CheckpointError: a member's predictions are missing or damaged.
        OutputError: a file cannot be written.
    """
    files = ensemble_pictures(report, paths, dataset, folder, seed=seed, probs=folder / PROBS, say=say)
    return [file.name for file in files]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
