"""Images as NumPy saved them: .npy and .npz. Never pickle: an array of objects is refused by its header."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import MAX_BYTES, as_images, as_labels, damaged, refuse
from mnistnn.types import UInt8s

__all__ = ["read_npy", "read_npz"]

_IMAGES, _LABELS = ("images", "x"), ("labels", "y")

# What NumPy's header parser and the zip decoders raise on bytes that are not theirs.
_DAMAGE = (
    ValueError, SyntaxError, tokenize.TokenError, TypeError, EOFError, OSError, OverflowError, RecursionError,
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError, IndexError,
)  # fmt: skip


def read_npy(file: BinaryIO, path: Path) -> UInt8s:
    """Returns the images of a .npy file.

    Raises:
        DataError: damaged, pickled, or not images.
    """
    return as_images(_array(file, path), path)


def read_npz(file: BinaryIO, path: Path) -> tuple[UInt8s, UInt8s | None]:
    """Returns the images of a .npz file and its labels, if it has them.

    The images are the array `images` or `x`, or else the only array that is not called `labels` or `y`.

    Raises:
        DataError: damaged, pickled, several arrays of other names, or not images.
    """
    try:
        archive = zipfile.ZipFile(file)
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGE as error:
        raise damaged(path, "an .npz file", error) from error
    with archive:
        labels_name = next((name for name in _LABELS if name in names), None)
        others = [name for name in names if name != labels_name]
        images_name = next((name for name in _IMAGES if name in others), others[0] if len(others) == 1 else None)
        if images_name is None:
            got = f"holds {', '.join(names[:8]) or 'no array'}{', …' if len(names) > 8 else ''}"
            rule = "an .npz file must hold an array `images`, or `x`, or one alone"
            raise refuse(path, rule, got, "save the wanted one alone")
        images = as_images(_member(archive, images_name, path), path)
        if labels_name is None:
            return images, None
        return images, as_labels(_member(archive, labels_name, path), len(images), path)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
    try:
        file = archive.open(member)
    except _DAMAGE as error:
        raise damaged(path, "an .npz file", error) from error
    with file:
        return _array(file, path)  # type: ignore[arg-type]  # a reader of bytes, as much as is needed


def _array(file: BinaryIO, path: Path) -> NDArray[Any]:
    """Reads one array. Its header is looked at first: `np.load` would take the memory that a false one asks for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers as Python 2 wrote them
            first = np.lib.format.read_magic(file) == (1, 0)
            read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read_header(file)
            size = int(dtype.itemsize)
            for length in shape:
                size *= int(length)
    except _DAMAGE as error:
        raise damaged(path, "a NumPy file", error) from error
    if dtype.hasobject:
        raise refuse(path, "an array must hold plain numbers", "holds pickled objects", "save it as uint8")
    if not 0 <= size <= MAX_BYTES:
        rule = f"an array must have at most {MAX_BYTES:,} bytes"
        raise refuse(path, rule, f"promises {size:,}", "split it, or save it as uint8")
    try:
        data = file.read(size + 1)
    except _DAMAGE as error:
        raise damaged(path, "a NumPy file", error) from error
    if len(data) != size:
        fault = "has less (truncated)" if len(data) < size else "has more (trailing bytes)"
        raise refuse(path, f"an array of shape {shape} must have {size:,} bytes", fault, "save it again")
    try:
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    except _DAMAGE as error:
        raise damaged(path, "a NumPy file", error) from error
    return array
