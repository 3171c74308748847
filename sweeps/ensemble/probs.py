"""What an ensemble predicted when it was built, kept beside its record: no image need be opened for it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.files import atomic_write
from mnistnn.npz import read_arrays
from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.predictions import are_indices, are_labelled, are_probs

__all__ = ["PROBS", "Kept", "load_kept", "load_test_probs", "save_probs"]

#: The file of an ensemble's predictions.
PROBS = "probs.npz"

_SEEN, _MEMBERS = "val_seen", "val_members"


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What an ensemble predicted when it was built.

    Attributes:
        val: its probabilities for the validation (or out-of-fold) images.
        val_labels: the images' labels.
        val_indices: their places among the training images; None in older files.
        test: its probabilities for the test images.
        test_labels: their labels.
        evidence: what its members predicted for the validation images, if that is not what they left when their
            training ended.

    Shape:
        val: (N, 10); val_labels, val_indices: (N,); test: (T, 10); test_labels: (T,)
    """

    val: Floats
    val_labels: NDArray[np.integer]
    val_indices: NDArray[np.integer] | None
    test: Floats
    test_labels: NDArray[np.integer]
    evidence: Evidence | None


def save_probs(
    path: Path,
    *,
    ensemble: str,
    data: str,
    val: tuple[Floats, Ints | UInt8s],
    test: tuple[Floats, Ints | UInt8s],
    indices: Ints,
    evidence: Evidence | None = None,
) -> None:
    """Writes the predictions for validation (or out-of-fold) and test images with their labels, and whose they are.

    Args:
        path: the file.
        ensemble: the ensemble's digest.
        data: the data set's.
        val: probabilities and labels of the validation images.
        test: the same of the test images.
        indices: the places of the validation images among the training images.
        evidence: what the members predicted for them, where that is not what they left when their training ended.

    Shape:
        val, test: (N, 10) and (N,); indices: (N,) of the former

    Raises:
        OutputError: the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {"val": val[0], "val_labels": val[1], "val_indices": indices}
    arrays |= {"test": test[0], "test_labels": test[1]}
    if evidence is not None:  # of images that a member has not predicted, nothing: they are most in a final stage
        arrays |= {_SEEN: evidence.seen, _MEMBERS: evidence.probs[evidence.seen]}
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, ensemble=np.array(ensemble), data=np.array(data), **arrays)


def load_kept(path: Path, *, ensemble: str, data: str) -> Kept | None:
    """Returns what `save_probs` wrote, or None: absent, damaged, or of another ensemble or data set.

    Args:
        path: the file.
        ensemble: the digest of the ensemble that must have predicted it.
        data: the digest of the data set that it must be of.
    """
    arrays = _owned(path, ensemble, data, ("val", "val_labels", "val_indices", "test", "test_labels", _SEEN, _MEMBERS))
    try:
        val, labels, test, test_labels = (arrays[name] for name in ("val", "val_labels", "test", "test_labels"))
    except KeyError:
        return None
    if not (_are_answers(val, labels) and _are_answers(test, test_labels)):
        return None
    indices = arrays.get("val_indices")
    if indices is not None and not are_indices(indices, len(labels)):
        return None
    evidence = _evidence(arrays, labels, indices)
    return Kept(np.asarray(val, np.float32), labels, indices, np.asarray(test, np.float32), test_labels, evidence)


def _evidence(
    arrays: dict[str, NDArray[Any]], labels: NDArray[np.integer], indices: NDArray[np.integer] | None
) -> Evidence | None:
    if indices is None or not {_SEEN, _MEMBERS} <= arrays.keys():
        return None
    seen, given = arrays[_SEEN], arrays[_MEMBERS]
    if seen.dtype != bool or seen.shape[1:] != labels.shape or not seen.any(axis=0).all():
        return None
    if not are_probs(given, int(seen.sum())):
        return None
    probs = np.zeros((*seen.shape, given.shape[1]), np.float32)
    probs[seen] = given
    return Evidence(np.asarray(indices, np.int64), np.asarray(labels, np.int64), probs, seen)


def _are_answers(probs: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Says whether an array holds probabilities for images with these labels, of which there is at least one."""
    return are_labelled(probs, labels) and bool(labels.min() >= 0 and labels.max() < probs.shape[1])


def load_test_probs(path: Path, *, ensemble: str, data: str, count: int) -> Floats | None:
    """Returns what was predicted for the test images, or None: absent, damaged, or of another ensemble or data set.

    Args:
        path: what `save_probs` wrote.
        ensemble: the digest of the ensemble that must have predicted them.
        data: the digest of the data set that they must be of.
        count: how many test images that has.

    Shape: → (count, 10) float32
    """
    probs = _owned(path, ensemble, data, ("test",)).get("test")
    return np.asarray(probs, np.float32) if probs is not None and are_probs(probs, count) else None


def _owned(path: Path, ensemble: str, data: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Reads those arrays that there are; none if the file is absent, damaged, or of another ensemble or data set."""
    try:
        arrays = read_arrays(path, ("ensemble", "data", *names))
        is_own = (str(arrays["ensemble"]), str(arrays["data"])) == (ensemble, data)
    except (OSError, ValueError, KeyError):
        return {}
    return arrays if is_own else {}
