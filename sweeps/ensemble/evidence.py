"""What members predicted for images that they were not trained on: all that may choose, weigh and calibrate them.

Trials of a search have predicted the validation images; members of the final stage, each its own part of the training
images; trials of another study, what its seed left out. So for each image only some members count, and a mask says
which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import CheckpointError
from mnistnn.types import Floats, Ints
from sweeps.ensemble.averaging import average
from sweeps.ensemble.members import Member
from sweeps.ensemble.outside import outside_predictions
from sweeps.ensemble.predictions import Predictions, foreign, load_seen
from sweeps.paths import StudyPaths

if TYPE_CHECKING:
    from mnistnn.data import Dataset

__all__ = ["Evidence", "Reader", "join"]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Predictions of M members for N images, each seen by at least one of them.

    Attributes:
        indices: the images' places among the training images, ascending.
        labels: theirs.
        probs: the members' softmax outputs; zero where a member has none.
        seen: which member has predicted which image.

    Shape:
        indices, labels: (N,); probs: (M, N, classes) float32; seen: (M, N) bool
    """

    indices: NDArray[np.int64]
    labels: Ints
    probs: Floats
    seen: NDArray[np.bool_]

    @classmethod
    def full(cls, probs: Sequence[Floats] | Floats, labels: Ints) -> Evidence:
        """Returns that of members who all predicted the same images."""
        stacked = np.asarray(probs, np.float32)
        return cls(np.arange(len(labels), dtype=np.int64), labels, stacked, np.ones(stacked.shape[:2], bool))

    @property
    def overlap(self) -> float:
        """The share of images that two members or more have predicted: on the others no weights make a difference."""
        return float(np.mean(self.seen.sum(axis=0) > 1))

    @property
    def answers(self) -> float:
        """How many members have predicted an image, on average."""
        return float(np.mean(self.seen.sum(axis=0)))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_full(self) -> bool:
        """Whether every member has predicted every image."""
        return bool(self.seen.all())

    def given(self) -> NDArray[np.float64]:
        """Returns what each member gives to the right class; zero where it has not seen it. Shape: → (M, N)."""
        return self.probs[:, np.arange(len(self)), self.labels].astype(np.float64)

    def combine(self, weights: Sequence[float] | NDArray[np.float64]) -> Floats:
        """Returns for each image the weighted mean over the members that have predicted it.

        An image that only members without a weight have predicted is answered by their plain mean. So to leave a member
        out does not leave out the images that only it has seen, and no choice gets better by having fewer to answer.

        Shape:
            weights: (M,) → (N, classes) float32
        """
        if self.is_full:
            return average(self.probs, [float(weight) for weight in weights])
        shares = self.shares(weights)
        total = np.zeros(self.probs.shape[1:])
        for share, probs in zip(shares, self.probs, strict=True):
            total += share[:, None] * probs
        return np.asarray(total, np.float32)

    def shares(self, weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns by how much each member counts for each image; they sum to one. Shape: (M,) → (M, N)."""
        shares = np.asarray(weights, np.float64)[:, None] * self.seen
        bare = shares.sum(axis=0) <= 0
        shares[:, bare] = self.seen[:, bare]
        total: NDArray[np.float64] = shares.sum(axis=0)
        return np.divide(shares, total, out=shares)

    def member(self, index: int) -> tuple[Ints, Floats]:
        """Returns labels and probabilities of the images that a member has predicted."""
        rows = self.seen[index]
        return self.labels[rows], self.probs[index, rows]

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Evidence:
        """Returns the evidence on some of the images."""
        return Evidence(self.indices[chosen], self.labels[chosen], self.probs[:, chosen], self.seen[:, chosen])

    def of(self, members: Sequence[int]) -> Evidence:
        """Returns the evidence that some of the members give, on the images that they have predicted."""
        kept = list(members)
        seen = self.seen[kept]
        rows = seen.any(axis=0)
        return Evidence(self.indices[rows], self.labels[rows], self.probs[kept][:, rows], seen[:, rows])


def join(predictions: Sequence[Predictions]) -> Evidence:
    """Puts members' predictions side by side.

    Args:
        predictions: each with the indices of its images.

    Raises:
        CheckpointError: two have other labels for the same image: they were not run on the same data.
    """
    indices = np.unique(np.concatenate([each.indices for each in predictions]))
    labels = np.full(len(indices), -1, np.int64)
    seen = np.zeros((len(predictions), len(indices)), bool)
    probs = np.zeros((*seen.shape, predictions[0].probs.shape[1]), np.float32)
    for member, each in enumerate(predictions):
        rows = np.searchsorted(indices, each.indices)
        known = labels[rows]
        if ((known >= 0) & (known != each.labels)).any():
            raise foreign("images of the same data", each.shown)
        labels[rows] = each.labels
        probs[member, rows] = each.probs
        seen[member, rows] = True
    return Evidence(indices, labels, probs, seen)


class Reader:
    """Reads what members of a study predicted, with the places of the images among the training images.

    Args:
        paths: the study's paths.
        dataset: what the members must have been run on; without it they only must agree.
        seed: the study's, by which the data set is parted. Trials that do not say their images have predicted the
            validation part.
    """

    def __init__(self, paths: StudyPaths, dataset: Dataset | None = None, seed: int = 0) -> None:
        self.paths = paths
        self._dataset = dataset
        self._assumed: NDArray[np.int64] | None = None if dataset is None else dataset.split(seed)[1].indices

    def one(self, member: Member) -> Predictions:
        """Reads a member's.

        Raises:
            CheckpointError: they are missing or damaged, or are for other images; or they are those of a model from
                outside, which has no labels, and there is no data set.
        """
        if member.outside:
            if self._dataset is None:
                raise CheckpointError(
                    f"the labels of what {member.name} predicted must be known, but it came from outside and has none; "
                    "name the data set."
                )
            return outside_predictions(member, self.paths, self._dataset)
        found = load_seen(member, self.paths, self._assumed)
        if self._dataset is None:
            return found
        labels = self._dataset.train_labels
        if found.indices.max() >= len(labels) or not np.array_equal(labels[found.indices], found.labels):
            raise foreign("images of this data set", found.shown)
        return found

    def read(self, members: Sequence[Member]) -> list[Predictions]:
        """Reads those of members that are to be put side by side.

        Raises:
            CheckpointError: some are missing or damaged, or are for other images.
        """
        found = [self.one(member) for member in members]
        if self._dataset is None:
            # Who does not say its images has predicted those of the others of its study, where they say them.
            said = next((each for each in found if not each.is_assumed), None)
            if said is not None:
                found = [
                    replace(each, indices=said.indices)
                    if each.is_assumed and np.array_equal(each.labels, said.labels)
                    else each
                    for each in found
                ]
        return found
