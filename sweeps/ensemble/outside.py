"""Models from outside: arrays of probabilities that some other program made, averaged with a study's own members.

An .npz with these arrays:

- `val`: (N, 10), for images of the training file that the model was not trained on;
- `indices`: (N,), their places in that file, from 0;
- `test`: (T, 10), for the test images, in their order;
- `input_SHA256`: (n, 10), for a contest's images with that digest, if answers for them are wanted. `submit` says it.

A copy stays beside the study's ensembles, for a submission to be made again from.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.data import Dataset
from mnistnn.errors import CheckpointError, DataError
from mnistnn.files import atomic_write, sha256_bytes
from mnistnn.npz import open_plain, read_arrays
from mnistnn.types import Floats
from sweeps.ensemble.members import Member
from sweeps.ensemble.predictions import Predictions, are_indices, are_probs, foreign
from sweeps.paths import StudyPaths

__all__ = ["TEST", "input_key", "outside_path", "outside_predictions", "outside_probs", "read_outside"]

#: The array of what a model predicted for the test images.
TEST = "test"

_LARGEST = 1 << 30  # bytes; ten float64 for a million images are 80 MB
_LONGEST_NAME = 40


def input_key(digest: str) -> str:
    """Returns the name of the array for a contest's images."""
    return f"input_{digest}"


def outside_path(paths: StudyPaths, sha256: str) -> Path:
    """Returns where a study keeps its copy of a model from outside."""
    return paths.ensemble / f"outside-{sha256[:12]}.npz"


def read_outside(
    path: Path, number: int, paths: StudyPaths, dataset: Dataset, *, keep: bool = True
) -> tuple[Member, Predictions]:
    """Reads a model from outside, and keeps a copy beside the study's ensembles.

    Args:
        path: the file.
        number: its place among those that are given.
        paths: of the study that owns the ensemble.
        dataset: the study's.
        keep: whether to keep that copy, without which the model answers for no other images.

    Raises:
        DataError: the file is missing, or holds no such arrays.
        OutputError: the copy cannot be written.
    """
    name = "".join(letter if letter.isprintable() else "\ufffd" for letter in path.stem)[:_LONGEST_NAME]
    images = len(dataset.train_labels)
    try:
        with open_plain(path) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
        arrays = read_arrays(path, ("val", "indices", TEST))
        val, indices, test = (arrays[key] for key in ("val", "indices", TEST))
    except KeyError as error:
        raise _refuse(path, f"has no array {error}") from None
    except (OSError, ValueError) as error:
        raise _refuse(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if indices.ndim != 1 or not len(indices) or not are_indices(indices, len(indices)) or indices.max() >= images:
        raise _refuse(path, f"names by `indices` no places among {images:,} training images, each once")
    if not are_probs(val, len(indices)):
        raise _refuse(path, f"holds in `val` no ten probabilities for each of its {len(indices):,} indices")
    if not are_probs(test, dataset.test_count):
        raise _refuse(path, f"holds in `test` no ten probabilities for each of {dataset.test_count:,} test images")
    digest = sha256_bytes(data)
    if keep:
        with atomic_write(outside_path(paths, digest)) as file:
            file.write(data)
    rows = np.asarray(indices, np.int64)
    labels = np.asarray(dataset.train_labels[rows], np.int64)
    member = Member(number, "from outside", digest, float("nan"), outside=name or "outside")
    return member, Predictions(np.asarray(val, np.float32), labels, rows, path.name)


def outside_probs(member: Member, paths: StudyPaths, key: str | None, count: int) -> Floats:
    """Returns what a model from outside predicted for images that it is asked about by name.

    Args:
        member: the model.
        paths: of the study that owns the ensemble.
        key: the array's name; None for images that have none.
        count: how many images there are.

    Raises:
        CheckpointError: the copy is gone or damaged.
        DataError: it has not predicted those images.
    """
    arrays = _kept(member, paths, () if key is None else (key,))
    if key is None or key not in arrays:
        wanted = "them" if key is None else f"an array {key}"
        raise DataError(
            f"every member must answer for the images, but {member.name} came from outside, without its network, and "
            f"has not predicted {wanted}; add that to its .npz and build the ensemble again, or build one without it."
        )
    probs = arrays[key]
    if not are_probs(probs, count):
        raise DataError(
            f"a model from outside must give ten probabilities for each of {count:,} images, but the array {key} of "
            f"{member.name} holds others; correct it and build the ensemble again."
        )
    return np.asarray(probs, np.float32)


def outside_predictions(member: Member, paths: StudyPaths, dataset: Dataset) -> Predictions:
    """Returns what a model from outside predicted for training images that it was not trained on, as it says.

    Args:
        member: the model.
        paths: of the study that owns the ensemble.
        dataset: what the model was added on, which has the images' labels.

    Raises:
        CheckpointError: the copy is gone or damaged, or is for the images of a larger data set.
    """
    arrays = _kept(member, paths, ("val", "indices"))
    rows = np.asarray(arrays["indices"], np.int64)
    if rows.max() >= len(dataset.train_labels):
        raise foreign("images of this data set", member.name)
    labels = np.asarray(dataset.train_labels[rows], np.int64)
    name = outside_path(paths, member.weights_sha256).name
    return Predictions(np.asarray(arrays["val"], np.float32), labels, rows, name)


def _kept(member: Member, paths: StudyPaths, names: Container[str]) -> dict[str, NDArray[Any]]:
    """Reads arrays of the copy that was kept, all of which were looked at when it was added.

    Raises:
        CheckpointError: it is gone, or another one.
    """
    path = outside_path(paths, member.weights_sha256)
    try:
        with open_plain(path) as file:
            digest = sha256_bytes(file.read(_LARGEST + 1))
        if digest != member.weights_sha256:
            raise ValueError(f"its sha256 is {digest[:12]}…")
        return read_arrays(path, names)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"a model from outside must be as it was added (sha256 {member.weights_sha256[:12]}…), but {path.name} is "
            f"not ({getattr(error, 'strerror', None) or error}); build the ensemble again with --add."
        ) from error


def _refuse(path: Path, reason: str) -> DataError:
    return DataError(
        f"a model from outside must be an .npz with `val`, `indices` and `test`, but {path} {reason}; see `ensemble "
        "--help`."
    )
