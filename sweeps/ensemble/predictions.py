"""What members predicted, when their training ended, for images that they were not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import CheckpointError
from mnistnn.npz import read_arrays
from mnistnn.types import Floats, Ints
from sweeps.ensemble.members import Member, refuse_cleaned, remedy, shown
from sweeps.paths import StudyPaths
from sweeps.study.snapshots import probs_name

__all__ = [
    "Predictions",
    "are_indices",
    "are_labelled",
    "are_probs",
    "foreign",
    "load_predictions",
    "load_seen",
    "load_val_probs",
]

_CLASSES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a member predicted for images that it was not trained on.

    Attributes:
        probs: its softmax outputs, (N, 10).
        labels: the images' labels, (N,).
        indices: their places among the training images, (N,).
        shown: the file that says so, as it is named to people.
        is_assumed: whether the file does not say which images they are.
    """

    probs: Floats
    labels: Ints
    indices: NDArray[np.int64]
    shown: str
    is_assumed: bool = False


def load_val_probs(member: Member, paths: StudyPaths, labels: Ints) -> Floats:
    """Returns what the trial predicted for the validation images when it ended; nothing is computed again.

    Args:
        member: whose.
        paths: the study's paths.
        labels: the validation labels, which must be those that the trial stored beside its predictions.

    Shape:
        labels: (N,) → (N, 10) float32

    Raises:
        CheckpointError: the file is missing or damaged, or belongs to other validation images.
    """
    probs, stored = load_predictions(member, paths)
    if stored.shape != labels.shape or not np.array_equal(stored, labels):
        raise foreign(f"this study's {len(labels)} validation images", shown(_predictions(member, paths)))
    return probs


def load_predictions(member: Member, paths: StudyPaths) -> tuple[Floats, Ints]:
    """Returns what the trial predicted for the validation images when it ended, and their labels as it stored them.

    Args:
        member: whose.
        paths: the study's paths.

    Shape:
        → (N, 10) float32, (N,)

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    probs, labels, _ = _read(member, paths)
    return probs, labels


def load_seen(member: Member, paths: StudyPaths, assumed: NDArray[np.int64] | None = None) -> Predictions:
    """Returns what a trial predicted when it ended, with the places of the images among the training images.

    Args:
        member: whose.
        paths: the study's paths.
        assumed: the places where the file does not say them, as those of older trials do not; by default 0, 1, 2, …

    Raises:
        CheckpointError: the file is missing or damaged, or holds another number of predictions than `assumed`.
    """
    probs, labels, indices = _read(member, paths)
    name = shown(_predictions(member, paths))
    is_assumed = indices is None
    if indices is None:
        indices = np.arange(len(labels), dtype=np.int64) if assumed is None else assumed
        if len(indices) != len(labels):
            raise foreign(f"this study's {len(indices)} validation images", name)
    return Predictions(probs, labels, indices, name, is_assumed)


def _read(member: Member, paths: StudyPaths) -> tuple[Floats, Ints, NDArray[np.int64] | None]:
    path = _predictions(member, paths)
    name = shown(path)
    try:
        arrays = read_arrays(path, ("probs", "labels", "indices"))
        probs, stored, indices = arrays["probs"], arrays["labels"], arrays.get("indices")
    except FileNotFoundError:
        refuse_cleaned(member, path)
        raise CheckpointError(
            f"trial {member.number} must have its validation predictions, but {name} is missing; "
            f"{remedy(member, path)}."
        ) from None
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"a file of predictions must be a whole .npz, but {name} is damaged ({reason}); {remedy(member, path)}."
        ) from error
    if not are_labelled(probs, stored):
        raise CheckpointError(
            f"predictions must be {_CLASSES} probabilities an image, but {name} holds others; {remedy(member, path)}."
        )
    if indices is not None and not are_indices(indices, len(stored)):
        raise CheckpointError(
            f"predictions must say of which images they are, each once, but {name} does not; {remedy(member, path)}."
        )
    return np.asarray(probs, np.float32), stored, None if indices is None else np.asarray(indices, np.int64)


def _predictions(member: Member, paths: StudyPaths) -> Path:
    return member.folder(paths) / ("val_probs.npz" if member.epoch is None else probs_name(member.epoch))


def foreign(wanted: str, shown: str) -> CheckpointError:
    """Returns what is raised where predictions are for other images than the `wanted` ones.

    Args:
        wanted: which they must be for: "images of this data set".
        shown: what holds them, as it is named to people.
    """
    return CheckpointError(
        f"members must have predicted {wanted}, but {shown} belongs to others; name the data set that the study was "
        "run on."
    )


def are_labelled(probs: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Says whether arrays hold labels, one at least, and ten probabilities for each."""
    return labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) > 0 and are_probs(probs, len(labels))


def are_probs(probs: NDArray[Any], count: int) -> bool:
    """Says whether an array holds ten probabilities for each of `count` images."""
    if probs.shape != (count, _CLASSES) or probs.dtype.kind != "f":
        return False
    sums = probs.sum(axis=1, dtype=np.float64)
    return bool(np.isfinite(sums).all() and probs.min() >= 0 and np.abs(sums - 1).max() < 1e-3)


def are_indices(indices: NDArray[Any], count: int) -> bool:
    """Says whether an array names `count` images by their places, each once."""
    if indices.shape != (count,) or indices.dtype.kind not in "iu" or (count and indices.min() < 0):
        return False
    return len(np.unique(indices)) == count
