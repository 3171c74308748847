"""The ensemble at work: its members' softmax outputs, averaged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mnistnn.files import sha256_bytes
from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.members import Member, load_network
from sweeps.ensemble.outside import outside_probs
from sweeps.ensemble.temperature import tempered
from sweeps.ensemble.views import predict
from sweeps.paths import StudyPaths

__all__ = ["Ensemble", "average"]


def average(probs: Iterable[Floats], weights: Sequence[float]) -> Floats:
    """Returns the weighted mean of softmax outputs.

    Probabilities are averaged, not logits: a member that is sure of nothing then cannot make the others sure.

    Shape:
        probs: M times (N, classes); weights: (M,), summing to one → (N, classes) float32
    """
    total: Floats | None = None
    for member, weight in zip(probs, weights, strict=True):
        scaled = np.multiply(member, weight, dtype=np.float64)
        total = scaled if total is None else np.add(total, scaled, out=total)
    if total is None:
        raise ValueError("`probs` must hold at least one member's outputs, but got none.")
    return total.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Chosen members with their weights in the average.

    Attributes:
        study: the name of the study that they come from.
        members: the trials.
        weights: how much each counts; they sum to one.
        paths: the study's paths, where the members' files lie.
        temperature: what makes the average as sure as it is right; it changes no answer.
        tta: by how many pixels the images are shifted for the views that a member averages; 0 for the image alone.
    """

    study: str
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    paths: StudyPaths
    temperature: float = 1.0
    tta: int = 0

    @property
    def digest(self) -> str:
        """Names the ensemble by what it computes: the digests of its members' weights, how much each counts, and more.

        What is as it always was is not said, so that ensembles keep the name that they were built under.
        """
        parts: Any = [
            [member.weights_sha256, weight] for member, weight in zip(self.members, self.weights, strict=True)
        ]
        more = ({"temperature": self.temperature} if self.temperature != 1.0 else {}) | (
            {"tta": self.tta} if self.tta else {}
        )
        if more:
            parts = {"members": parts, **more}
        return sha256_bytes(json.dumps(parts).encode())

    def predict_proba(self, images: UInt8s, key: str | None = None) -> Floats:
        """Returns the averaged softmax outputs, by the ensemble's temperature.

        Args:
            images: what to answer for.
            key: the name of the array in which models from outside say what they predicted for these images.

        Shape:
            images: (N, 28, 28) uint8 → (N, 10) float32

        Raises:
            CheckpointError: a member's weights are missing, damaged, or not those that its trial recorded.
            DataError: a member came from outside, and has not predicted these images.
        """
        return self.combine(self.member_probs(images, key))

    def combine(self, probs: Iterable[Floats]) -> Floats:
        """Returns what the ensemble makes of its members' outputs. Shape: M times (N, 10) → (N, 10) float32."""
        return tempered(average(probs, self.weights), self.temperature)

    def member_probs(self, images: UInt8s, key: str | None = None) -> Iterator[Floats]:
        """Yields each member's softmax outputs in turn; one network is in memory at a time, and works in blocks."""
        for member in self.members:
            if member.outside:
                yield outside_probs(member, self.paths, key, len(images))
            else:
                yield predict(load_network(member, self.paths), images, self.tta)

    def predict(self, images: UInt8s) -> Ints:
        """Returns the likeliest digit of each image. Shape: (N, 28, 28) uint8 → (N,)."""
        return cast("Ints", self.predict_proba(images).argmax(axis=1))
