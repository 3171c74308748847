"""What is known of an ensemble on images that are changed, as it is kept, shown and tracked."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mnistnn.files import atomic_write
from mnistnn.npz import open_plain
from sweeps.ensemble.evaluate import Interval

__all__ = ["Figures", "GroupFigures", "Robustness", "read_robustness", "save_robustness"]

_FORMAT = 1
_LARGEST = 4 << 20  # bytes; a hundred members take a tenth of it


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
        members: the same of each member.
        variants: the ensemble's accuracy in each variant, by name; nothing where there is only one.
        ink: how much ink is left, as a share of what there was; None where the images are others.
    """

    name: str
    how: str
    ensemble: Figures
    members: tuple[Figures, ...]
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
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Robustness:
        """Rebuilds what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is not that.
        """
        known = dict(values)
        if known.pop("format") != _FORMAT:
            raise ValueError("another format")
        if odd := known.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown keys {sorted(odd)[:4]}")
        found: Robustness = _adapter().validate_json(json.dumps(known), strict=True)
        if not found.groups or not all(len(each.members) == len(found.members) for each in found.groups):
            raise ValueError("figures of other members")
        return found


@functools.cache
def _adapter() -> Any:
    """Returns what checks that each value is of the type that its field says."""
    from pydantic import TypeAdapter

    return TypeAdapter(Robustness)


def save_robustness(found: Robustness, path: Path) -> None:
    """Writes it as JSON.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path, "w") as file:
        json.dump(found.to_dict(), file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_robustness(path: Path) -> Robustness | None:
    """Reads what `save_robustness` wrote; None if there is no such file, or it is damaged."""
    try:
        with open_plain(path) as file:
            text = file.read(_LARGEST + 1)
        return Robustness.from_dict(json.loads(text)) if len(text) <= _LARGEST else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
