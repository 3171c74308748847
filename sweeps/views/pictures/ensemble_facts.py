"""What the pictures of an ensemble are drawn from, read once from what its members left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.carried import temperature_here
from sweeps.ensemble.evidence import Reader, join
from sweeps.ensemble.probs import PROBS, load_kept
from sweeps.ensemble.temperature import tempered

if TYPE_CHECKING:
    from mnistnn.data import Dataset
    from sweeps.ensemble.record import EnsembleReport
    from sweeps.paths import StudyPaths

__all__ = ["EnsembleFacts", "gather_ensemble"]


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleFacts:
    """An ensemble, its members' predictions for the validation images, and its own for the test images.

    Attributes:
        report: on it.
        paths: the study's, where the members' weights lie.
        images: those that the members were chosen by, (N, 28, 28) uint8.
        labels: theirs, (N,).
        member_probs: what each member predicted for them, (M, N, 10); zero where it was trained on them.
        seen: which member has predicted which image, (M, N).
        probs: what the ensemble predicted for them, (N, 10).
        temperature: by which.
        test: what it predicted for the test images, (T, 10), and their labels, (T,); None if that was not kept.
    """

    report: EnsembleReport
    paths: StudyPaths
    images: UInt8s
    labels: Ints
    member_probs: Floats
    seen: NDArray[np.bool_]
    probs: Floats
    temperature: float
    test: tuple[Floats, NDArray[np.integer]] | None

    @property
    def names(self) -> list[str]:
        """The members' numbers as they are shown: #017."""
        return [scored.member.name for scored in self.report.members]


def gather_ensemble(
    report: EnsembleReport, paths: StudyPaths, dataset: Dataset, *, seed: int, probs: Path | None = None
) -> EnsembleFacts:
    """Reads an ensemble; nothing is predicted again, and no test image is opened.

    Args:
        report: on the ensemble.
        paths: the study's paths.
        dataset: what the study was run on.
        seed: the study's, which parts the validation images from the others.
        probs: the file of the ensemble's predictions; by default that of the study's last ensemble.

    Raises:
        CheckpointError: a member's predictions are missing or damaged, or of another data set.
    """
    ensemble = report.ensemble(paths)
    kept = load_kept(probs or paths.ensemble / PROBS, ensemble=report.digest, data=dataset.digest)
    # By views, members predicted other than when their training ended; an older ensemble has not kept what.
    evidence = kept.evidence if kept is not None else None
    if evidence is None:
        evidence = join(Reader(paths, dataset, seed).read(ensemble.members))
    average = evidence.combine(ensemble.weights)
    temperature = temperature_here(report.temperature, report.carried, evidence.labels, average)
    ours = tempered(average, temperature)
    if kept is not None and kept.val_indices is not None and np.array_equal(kept.val_indices, evidence.indices):
        ours = kept.val
    return EnsembleFacts(
        report=report,
        paths=paths,
        images=dataset.train_images[evidence.indices],
        labels=evidence.labels,
        member_probs=evidence.probs,
        seen=evidence.seen,
        probs=ours,
        temperature=temperature,
        test=None if kept is None else (kept.test, kept.test_labels),
    )
