"""What is known of an ensemble on images that are changed, as it is kept, shown and tracked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.ensemble.evaluate import Interval
from sweeps.records import DAMAGED, from_plain, read_plain, save_plain, to_plain

__all__ = ["Figures", "GroupFigures", "Robustness", "read_robustness", "save_robustness"]


@dataclass(frozen=True, slots=True)
class Figures:
    """How good answers are.

    Attributes:
        accuracy: the share of right ones, with its 95 % interval. Where several variants of each image were asked for,
            it is their mean, and the interval is for as many images as there are, so it is never too narrow.
        loss: the mean cross-entropy.
        images: how many were asked for, in each variant.
    """

    accuracy: Interval
    loss: float
    images: int


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """Figures of one group of variants.

    Attributes:
        name: the group's.
        how: how its images were made.
        ensemble: the mean over the variants.
        members: the same of each member; None of one that was trained on all of the images.
        variants: the ensemble's accuracy in each variant, by name; nothing where there is only one.
        ink: how much ink is left, as a share of what there was; None where the images are others.
    """

    name: str
    how: str
    ensemble: Figures
    members: tuple[Figures | None, ...]
    variants: dict[str, float]
    ink: float | None

    @property
    def worst(self) -> tuple[str, float] | None:
        """The variant with the least accuracy, if there is more than one."""
        return min(self.variants.items(), key=lambda item: item[1]) if self.variants else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """An ensemble and its members on variants of the same images.

    Attributes:
        study: the study's name.
        title: the ensemble's: "ensemble of 5 · mean".
        digest: the ensemble's.
        part: which images: "validation", "out-of-fold", "held-out" of both, or "test".
        images: how many there are.
        sampled: how many of them were asked for at most; None for all.
        seed: what the variants derive from.
        members: the members' names and labels.
        groups: the figures.
        data: the data set's name and digest.
        test_openings: how often the test images had been opened when this opening was counted; None if they were not.
        versions: of Python, NumPy, BLAS, and of what made the variants.
        commit: of the checkout.
        time: when, in UTC.
    """

    study: str
    title: str
    digest: str
    part: str
    images: int
    sampled: int | None
    seed: int
    members: tuple[tuple[str, str], ...]
    groups: tuple[GroupFigures, ...]
    data: dict[str, str]
    test_openings: int | None
    versions: dict[str, str]
    commit: str | None
    time: str

    def group(self, name: str) -> GroupFigures:
        """Returns the figures of the group called so."""
        return next(each for each in self.groups if each.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Robustness:
        """Rebuilds what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        found = from_plain(cls, values)
        if not found.groups or not all(len(each.members) == len(found.members) for each in found.groups):
            raise ValueError("figures of other members")
        return found


def save_robustness(found: Robustness, path: Path) -> None:
    """Writes it as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    save_plain(found.to_dict(), path)


def read_robustness(path: Path) -> Robustness | None:
    """Reads what `save_robustness` wrote; None if there is no such file, or it is damaged."""
    try:
        return Robustness.from_dict(read_plain(path))
    except DAMAGED:
        return None
