"""What every reader checks: sizes before anything is expanded, then pixels and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import DataError, SizeError
from mnistnn.npz import open_plain
from mnistnn.types import Shape, UInt8s

__all__ = [
    "CLASSES",
    "MAX_BYTES",
    "PIXELS",
    "SIDE",
    "as_images",
    "as_labels",
    "check_side",
    "damaged",
    "most_bytes",
    "one_line",
    "open_input",
    "refuse",
]

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = 10

MAX_BYTES = 2 << 30
"""What a compressed or a text file may expand to: 2 GiB, or 2.7 million images."""

_UNSUSPECTED_BYTES = 64 << 20  # 80,000 images, all of them blank, or as many digits as MNIST has
_LARGEST_RATIO = 100  # digits as float64 become a twenty-fifth when they are compressed, zeros a thousandth

_BLOCK = 4096  # images converted at once, so that a large array of floats is not held twice


def most_bytes(size: int) -> int:
    """Returns what a file of `size` bytes may expand to: no bomb takes more memory than many images would."""
    return min(MAX_BYTES, max(_UNSUSPECTED_BYTES, _LARGEST_RATIO * size))


def one_line(text: object) -> str:
    """Returns `text` on one line and without control characters; file and member names may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))


def refuse(path: Path, rule: str, got: str, remedy: str) -> DataError:
    """Returns the error for a file that breaks a rule: "`rule`, but `path` `got`; `remedy`."."""
    return DataError(one_line(f"{rule}, but {path} {got}; {remedy}."))


def damaged(path: Path, kind: str, error: object) -> DataError:
    """Returns the error for a file that its decoder gave up on."""
    reason = one_line(error)[:120].rstrip(".") or type(error).__name__
    return refuse(path, f"{kind} must be whole", f"is damaged ({reason})", "fetch it or save it again")


def open_input(path: Path) -> BinaryIO:
    """Opens a file for reading; the caller closes it.

    Raises:
        DataError: it cannot be opened, or is empty.
    """
    try:
        file = open_plain(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(path, "the input must be a readable file", f"is not ({reason})", "check the name") from error
    if not file.read(1):
        file.close()
        raise refuse(path, "the input must hold at least one image", "is empty", "fetch it or save it again")
    file.seek(0)
    return file


def check_side(shape: Shape, path: Path) -> None:
    """Raises a SizeError unless `shape` is that of one image."""
    if shape != (SIDE, SIDE):
        size = "×".join(str(n) for n in shape)
        rule, remedy = f"an image must be {SIDE}×{SIDE} pixels", f"bring it to {SIDE}×{SIDE}"
        raise SizeError(str(refuse(path, rule, f"holds {size}", remedy)))


def as_images(array: NDArray[Any], path: Path) -> UInt8s:
    """Returns images of any usual shape and type as uint8.

    Floats that all lie in 0..1 are taken for fractions of full ink and scaled by 255, booleans too; other floats are
    rounded.

    Shape: (N, 28, 28), (N, 784), (N, 28, 28, 1), (N, 1, 28, 28), (28, 28) or (784,) → (N, 28, 28)

    Raises:
        DataError: no images, not numbers, another size, NaN or infinity, or values outside 0..255.
    """
    if array.dtype.kind not in "buif":
        raise refuse(path, "pixels must be numbers", f"holds {array.dtype}", "save them as uint8")
    if not array.size:
        raise refuse(path, "the input must hold at least one image", "holds none", "check how it was made")
    images = _one_per_row(array, path)
    low, high = images.min(), images.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        first = int(np.argmax(~np.isfinite(images).reshape(len(images), -1).all(axis=1)))
        raise refuse(path, "a pixel must be a finite number", f"has NaN or infinity in image {first + 1}", "correct it")
    if low < 0 or high > 255:
        got = f"has values from {low:g} to {high:g}"
        raise refuse(path, "pixels must lie in 0..255, or in 0..1 as floats", got, "undo its normalisation")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(images)
    scale = 255.0 if array.dtype.kind == "b" or (array.dtype.kind == "f" and high <= 1) else 1.0
    result: UInt8s = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        result[start : start + _BLOCK] = np.rint(block.astype(np.float64) * scale)
    return result


def _one_per_row(array: NDArray[Any], path: Path) -> NDArray[Any]:
    shape = array.shape
    if shape in ((SIDE, SIDE), (PIXELS,)):
        return array.reshape(1, SIDE, SIDE)
    if shape[1:] in ((SIDE, SIDE), (PIXELS,), (SIDE, SIDE, 1), (1, SIDE, SIDE)):
        return array.reshape(-1, SIDE, SIDE)
    got = f"holds an array of shape {shape}"
    raise refuse(path, f"images must have the shape (N, {SIDE}, {SIDE}) or (N, {PIXELS})", got, "reshape it")


def as_labels(array: NDArray[Any], count: int, path: Path) -> UInt8s:
    """Returns the labels of `count` images as uint8.

    Shape: (N,) or (N, 1) → (N,)

    Raises:
        DataError: another number of labels, or one that is not a digit.
    """
    if array.dtype.kind not in "buif" or array.shape not in ((count,), (count, 1)):
        got = f"holds labels of shape {array.shape} and type {array.dtype}"
        raise refuse(path, f"the labels must match the images ({count:,})", got, "take both from one source")
    labels = array.reshape(-1)
    good = (labels >= 0) & (labels < CLASSES)  # NaN is neither
    if array.dtype.kind == "f":
        good &= labels == np.rint(labels)
    if not good.all():
        first = int(np.argmin(good))
        raise refuse(path, "a label must be a digit from 0 to 9", f"has {labels[first]:g} at {first}", "correct it")
    return labels.astype(np.uint8)
