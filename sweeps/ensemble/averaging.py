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
from sweeps.ensemble.temperature import tempered
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
    """

    study: str
    members: tuple[Member, ...]
    weights: tuple[float, ...]
    paths: StudyPaths
    temperature: float = 1.0

    @property
    def digest(self) -> str:
        """Names the ensemble by what it computes: the digests of its members' weights, how much each counts, and more.

        What is as it always was is not said, so that ensembles keep the name that they were built under.
        """
        parts: Any = [
            [member.weights_sha256, weight] for member, weight in zip(self.members, self.weights, strict=True)
        ]
        if self.temperature != 1.0:
            parts = {"members": parts, "temperature": self.temperature}
        return sha256_bytes(json.dumps(parts).encode())

    def predict_proba(self, images: UInt8s) -> Floats:
        """Returns the averaged softmax outputs, by the ensemble's temperature.

        Shape:
            images: (N, 28, 28) uint8 → (N, 10) float32

        Raises:
            CheckpointError: a member's weights are missing, damaged, or not those that its trial recorded.
        """
        return self.combine(self.member_probs(images))

    def combine(self, probs: Iterable[Floats]) -> Floats:
        """Returns what the ensemble makes of its members' outputs. Shape: M times (N, 10) → (N, 10) float32."""
        return tempered(average(probs, self.weights), self.temperature)

    def member_probs(self, images: UInt8s) -> Iterator[Floats]:
        """Yields each member's softmax outputs in turn; one network is in memory at a time, and works in blocks."""
        for member in self.members:
            yield load_network(member, self.paths).predict_proba(cast("Floats", images))

    def predict(self, images: UInt8s) -> Ints:
        """Returns the likeliest digit of each image. Shape: (N, 28, 28) uint8 → (N,)."""
        return cast("Ints", self.predict_proba(images).argmax(axis=1))
