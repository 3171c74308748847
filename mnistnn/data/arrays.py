"""Images as NumPy saved them: .npy and .npz. Never pickle: an array of objects is refused by its header."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from mnistnn.data.checks import MAX_BYTES, as_images, as_labels, damaged, most_bytes, refuse
from mnistnn.npz import OBJECTS, decoding, open_archive, read_header
from mnistnn.types import UInt8s

__all__ = ["read_npy", "read_npz"]

_IMAGES, _LABELS = ("images", "x"), ("labels", "y")
_SHOWN = 8  # names in an error line, and of each so many characters:
_SHOWN_LENGTH = 40


def read_npy(file: BinaryIO, path: Path) -> UInt8s:
    """Returns the images of a .npy file.

    Raises:
        DataError: damaged, pickled, or not images.
    """
    return as_images(_array(file, path, size=_size(file)), path)


def read_npz(file: BinaryIO, path: Path) -> tuple[UInt8s, UInt8s | None]:
    """Returns the images of a .npz file and its labels, if it has them.

    The images are the array `images` or `x`, or else the only array that is not called `labels` or `y`.

    Raises:
        DataError: damaged, pickled, several arrays of other names, or not images.
    """
    limit = most_bytes(_size(file))
    try:
        archive = open_archive(file)
    except ValueError as error:
        raise damaged(path, "an .npz file", error) from error
    with archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        names = list(members)
        labels_name = next((name for name in _LABELS if name in names), None)
        others = [name for name in names if name != labels_name]
        images_name = next((name for name in _IMAGES if name in others), others[0] if len(others) == 1 else None)
        if images_name is None:
            shown = ", ".join(name[:_SHOWN_LENGTH] for name in names[:_SHOWN]) or "no array"
            got = f"holds {shown}{', …' if len(names) > _SHOWN else ''}"
            rule = "an .npz file must hold an array `images`, or `x`, or one alone"
            raise refuse(path, rule, got, "save the wanted one alone")
        images = as_images(_member(archive, members[images_name], path, limit), path)
        if labels_name is None:
            return images, None
        return images, as_labels(_member(archive, members[labels_name], path, limit), len(images), path)


def _size(file: BinaryIO) -> int:
    """Returns the bytes of a file, which is left at its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _member(archive: zipfile.ZipFile, name: str, path: Path, limit: int) -> NDArray[Any]:
    try:
        with decoding():
            file = archive.open(name)
    except ValueError as error:
        raise damaged(path, "an .npz file", error) from error
    with file:
        return _array(cast(BinaryIO, file), path, limit=limit)  # a reader of bytes, as much as is needed


def _array(file: BinaryIO, path: Path, *, size: int | None = None, limit: int = MAX_BYTES) -> NDArray[Any]:
    """Reads one array, if its header promises one that can be there.

    Args:
        file: what to read.
        path: what error lines name.
        size: the bytes that there are, if that is known.
        limit: the most that the array may have.
    """
    try:
        header = read_header(file)
    except ValueError as error:
        if str(error) == OBJECTS:
            raise refuse(path, "an array must hold plain numbers", f"holds {OBJECTS}", "save it as uint8") from None
        raise damaged(path, "a NumPy file", error) from error
    if header.nbytes > limit:
        rule = f"an array must have at most {limit:,} bytes in a file of this size"
        raise refuse(path, rule, f"promises {header.nbytes:,}", "split it, or save it as uint8")
    found = None if size is None else size - header.length
    if found in (None, header.nbytes):
        try:
            with decoding():
                data = file.read(header.nbytes + 1)
        except ValueError as error:
            raise damaged(path, "a NumPy file", error) from error
        found = len(data)
    if found != header.nbytes:
        fault = "has less (truncated)" if found < header.nbytes else "has more (trailing bytes)"
        rule = f"an array of shape {header.shape} must have {header.nbytes:,} bytes"
        raise refuse(path, rule, fault, "save it again")
    return header.array(data)
