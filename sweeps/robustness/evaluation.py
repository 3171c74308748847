"""An ensemble and its members on variants of images that chose none of them, or of the test images, once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnistnn.data import Dataset
from mnistnn.data.dataset import stratified
from mnistnn.metrics import cross_entropy
from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.evaluate import share_interval
from sweeps.ensemble.evidence import Evidence, Reader
from sweeps.ensemble.members import load_network
from sweeps.ensemble.record import EnsembleReport
from sweeps.ensemble.temperature import tempered
from sweeps.errors import StudyError
from sweeps.provenance import commit, versions
from sweeps.robustness.digits import HOW, NAME, other_digits
from sweeps.robustness.record import Figures, GroupFigures, Robustness
from sweeps.robustness.variants import GROUPS, SEED, Group, generate
from sweeps.workers.cores import usable_cores

__all__ = ["Subjects", "evaluate", "held_out", "opened_test"]

_MAKERS = ("scipy", "scikit-learn", "pillow")

Echo = Callable[[str], object]


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """The images that variants are made of.

    Attributes:
        part: which they are: "validation", "out-of-fold", "held-out" of both, or "test".
        images: (N, 28, 28) uint8.
        labels: theirs, (N,).
        seen: which member may answer for which image, as it was not trained on it; (M, N).
        sampled: how many there may be at most; None for all.
        openings: how often the test images have been opened; None if these are others.
    """

    part: str
    images: UInt8s
    labels: Ints
    seen: NDArray[np.bool_]
    sampled: int | None = None
    openings: int | None = None


def held_out(
    report: EnsembleReport, ensemble: Ensemble, dataset: Dataset, *, seed: int, most: int | None = None
) -> Subjects:
    """Returns the images of the training file that not all members were trained on.

    Of the search's trials these are the validation images. Members of a final stage left out other images each, so for
    an image only those answer that have not learnt it.

    Args:
        report: on the ensemble.
        ensemble: the same, to predict with.
        dataset: what the study was run on.
        seed: the study's, which parts the validation images from the others.
        most: how many images to take at most, stratified by label; by default all.

    Raises:
        StudyError: the study was run on other data.
        CheckpointError: a member's predictions, which say what it was not trained on, are missing or damaged.
    """
    _check_data(report, dataset)
    known = Reader(ensemble.paths, dataset, seed).read(ensemble.members)
    indices = np.unique(np.concatenate([each.indices for each in known]))
    indices = indices[_sampled(dataset.train_labels[indices], most)]
    seen = np.stack([np.isin(indices, each.indices) for each in known])
    labels = dataset.train_labels[indices].astype(np.int64)
    return Subjects(report.chosen_by, dataset.train_images[indices], labels, seen, most)


def opened_test(
    report: EnsembleReport, ensemble: Ensemble, dataset: Dataset, ledger: Path, *, most: int | None = None
) -> Subjects:
    """Opens the test images, once it is sure that all members can answer.

    Args:
        report: on the ensemble.
        ensemble: the same, to predict with.
        dataset: what the study was run on.
        ledger: where the opening is noted.
        most: how many images to take at most, stratified by label; by default all.

    Raises:
        StudyError: the study was run on other data.
        CheckpointError: a member's weights are missing or damaged.
    """
    _check_data(report, dataset)
    for member in ensemble.members:
        load_network(member, ensemble.paths)
    test = dataset.open_test(f"robustness of study {ensemble.study}", ledger)
    rows = _sampled(test.labels, most)
    seen = np.ones((len(ensemble.members), len(rows)), bool)
    return Subjects("test", test.images[rows], test.labels[rows].astype(np.int64), seen, most, test.openings)


def _sampled(labels: Ints, most: int | None) -> NDArray[np.int64]:
    """Returns the places of so many images at most, stratified by label, the same ones whoever asks."""
    if most is None or most >= len(labels):
        return np.arange(len(labels))
    return stratified(labels, most, np.random.default_rng(SEED))


def _check_data(report: EnsembleReport, dataset: Dataset) -> None:
    seen = str(report.data["digest"])
    if dataset.digest != seen:
        raise StudyError(
            f"study {report.study!r} must be tried on the data it was run on (digest {seen[:12]}), but {dataset.name} "
            f"is other data ({dataset.digest[:12]}); name the same --data-dir."
        )


def evaluate(
    report: EnsembleReport,
    ensemble: Ensemble,
    subjects: Subjects,
    *,
    groups: Sequence[Group] = GROUPS,
    digits: bool = True,
    echo: Echo = lambda line: None,
) -> Robustness:
    """Tries an ensemble and its members on variants of images.

    Args:
        report: on the ensemble.
        ensemble: the same, to predict with.
        subjects: the images.
        groups: the variants.
        digits: whether to try scikit-learn's digits too.
        echo: takes a line for each group, as soon as it is known.

    Raises:
        CheckpointError: a member's weights are missing or damaged.
    """
    found: list[GroupFigures] = []
    few = ensemble  # of whose members, where they were trained on most of the images, one or two answer for each
    if report.carried is not None and not subjects.seen.all():
        few = replace(ensemble, temperature=report.carried.single)

    def add(figures: GroupFigures) -> None:
        found.append(figures)
        echo(f"{figures.name:<14}  {100 * figures.ensemble.accuracy.estimate:6.2f} %")

    # One network's BLAS has one thread, and most of its work leaves the interpreter free for another's.
    with ThreadPoolExecutor(usable_cores()) as pool:
        for group in groups:
            add(_group(group, few, subjects, pool))
        if digits:
            add(_digits(ensemble))
    return Robustness(
        study=ensemble.study,
        title=report.title,
        digest=report.digest,
        part=subjects.part,
        images=len(subjects.labels),
        sampled=subjects.sampled,
        seed=SEED,
        members=tuple((member.name, member.label) for member in ensemble.members),
        groups=tuple(found),
        data={"name": str(report.data["name"]), "digest": str(report.data["digest"])},
        test_openings=subjects.openings,
        versions=versions() | {name: version(name) for name in _MAKERS},
        commit=commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What came of one variant: of the ensemble in the first row, then of each member.

    Shape: right, asked: (1 + M, N); losses: (1 + M,)
    """

    right: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    losses: NDArray[np.float64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many answers are right. Shape: (1 + M,)."""
        return np.asarray((self.right & self.asked).sum(axis=1), np.int64)


def _group(group: Group, ensemble: Ensemble, subjects: Subjects, pool: ThreadPoolExecutor) -> GroupFigures:
    def one(index: int) -> tuple[_Outcome, int]:
        images = generate(group, group.variants[index], subjects.images)
        return _outcome(ensemble, images, subjects.labels, subjects.seen), int(images.sum(dtype=np.int64))

    found = list(pool.map(one, range(len(group.variants))))
    ours, members = _means([outcome for outcome, _ in found])
    shares = [int(outcome.counts[0]) / len(subjects.labels) for outcome, _ in found]
    ways = dict(zip((each.name for each in group.variants), shares, strict=True)) if len(found) > 1 else {}
    ink = sum(each for _, each in found) / len(found) / max(int(subjects.images.sum(dtype=np.int64)), 1)
    return GroupFigures(group.name, group.how, ours, members, ways, ink)


def _digits(ensemble: Ensemble) -> GroupFigures:
    images, labels = other_digits()
    seen = np.ones((len(ensemble.members), len(labels)), bool)
    ours, members = _means([_outcome(ensemble, images, labels, seen)])
    return GroupFigures(NAME, HOW, ours, members, {}, None)


def _outcome(ensemble: Ensemble, images: UInt8s, labels: Ints, seen: NDArray[np.bool_]) -> _Outcome:
    """Lets each member answer for the images that it was not trained on, and the ensemble for all by who may."""
    probs = np.zeros((*seen.shape, Dataset.classes), np.float32)
    for index, (member, rows) in enumerate(zip(ensemble.members, seen, strict=True)):
        if rows.any():  # of a few images a member may have been trained on all
            alone = replace(ensemble, members=(member,), weights=(1.0,))
            probs[index, rows] = next(alone.member_probs(images[rows]))
    evidence = Evidence(np.arange(len(labels)), labels, probs, seen)
    ours: Floats = tempered(evidence.combine(ensemble.weights), ensemble.temperature)
    answers = np.concatenate([ours[None], probs]).argmax(axis=2)  # (1 + M, N)
    asked = np.concatenate([np.ones((1, len(labels)), bool), seen])
    losses = [cross_entropy(labels, ours)]
    losses += [
        cross_entropy(labels[rows], given[rows]) if rows.any() else math.nan
        for given, rows in zip(probs, seen, strict=True)
    ]
    return _Outcome(answers == labels, asked, np.array(losses))


def _means(outcomes: Sequence[_Outcome]) -> tuple[Figures, tuple[Figures | None, ...]]:
    """Returns the figures of the ensemble and of each member, as means over variants of the same images.

    A member that was trained on all of the images has none.

    The mean over variants of what an image contributes varies no more than a single answer does, so Wilson's interval
    for as many images as there are is never too narrow, however alike the variants' answers are.
    """
    counts = [int(count) for count in outcomes[0].asked.sum(axis=1)]
    rights = np.sum([each.counts for each in outcomes], axis=0)
    losses = np.mean([each.losses for each in outcomes], axis=0)

    def figures(row: int) -> Figures:
        share = int(rights[row]) / (len(outcomes) * counts[row])
        return Figures(share_interval(share, counts[row]), float(losses[row]), counts[row])

    return figures(0), tuple(figures(row) if counts[row] else None for row in range(1, len(counts)))
