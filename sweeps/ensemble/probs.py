"""What an ensemble predicted when it was built, kept beside its record: no image need be opened for it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnistnn.files import atomic_write
from mnistnn.npz import read_arrays
from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.predictions import are_probs

__all__ = ["PROBS", "load_test_probs", "save_probs"]

#: The file of an ensemble's predictions.
PROBS = "probs.npz"


def save_probs(
    path: Path,
    *,
    ensemble: str,
    data: str,
    val: tuple[Floats, Ints | UInt8s],
    test: tuple[Floats, Ints | UInt8s],
    indices: Ints,
) -> None:
    """Writes the predictions for validation (or out-of-fold) and test images with their labels, and whose they are.

    Args:
        path: the file.
        ensemble: the ensemble's digest.
        data: the data set's.
        val: probabilities and labels of the validation images.
        test: the same of the test images.
        indices: the places of the validation images among the training images.

    Shape:
        val, test: (N, 10) and (N,); indices: (N,) of the former

    Raises:
        OutputError: the file cannot be written.
    """
    arrays = {"val": val[0], "val_labels": val[1], "val_indices": indices, "test": test[0], "test_labels": test[1]}
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, ensemble=np.array(ensemble), data=np.array(data), **arrays)


def load_test_probs(path: Path, *, ensemble: str, data: str, count: int) -> Floats | None:
    """Returns what was predicted for the test images, or None: absent, damaged, or of another ensemble or data set.

    Args:
        path: what `save_probs` wrote.
        ensemble: the digest of the ensemble that must have predicted them.
        data: the digest of the data set that they must be of.
        count: how many test images that has.

    Shape: → (count, 10) float32
    """
    try:
        arrays = read_arrays(path, ("ensemble", "data", "test"))
        owners, probs = tuple(str(arrays[name]) for name in ("ensemble", "data")), arrays["test"]
    except (OSError, ValueError, KeyError):  # all mean: predict again
        return None
    if owners != (ensemble, data) or not are_probs(probs, count):
        return None
    return np.asarray(probs, np.float32)
