"""Arrays in .npy and .npz files, by their headers first: nothing is unpickled, and no claim is believed.

`np.load` takes the memory that a header asks for before it looks whether the file holds as much.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
import zipfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from mnistnn.types import Shape

__all__ = ["OBJECTS", "ArrayHeader", "decoding", "open_archive", "open_plain", "read_arrays", "read_header"]

OBJECTS = "pickled objects"
"""What an array is refused for that would have to be unpickled."""

_LONGEST_HEADER = 10_000  # of an array, in bytes: NumPy's own limit, which it applies when all of it is in memory
_LARGEST_DIRECTORY = 1 << 20  # of an archive: thousands of arrays; a member takes ten times as much in memory
_END = b"PK\x05\x06"  # begins the end of an archive's directory, which has 22 bytes and a comment of up to 64 kB
_LARGE_END = b"PK\x06\x07"  # stands before it, 20 bytes long, in archives of over 4 GB


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What a .npy file says of its array, before the array itself.

    Attributes:
        length: the bytes of the header.
        nbytes: those that the array must have.
    """

    shape: Shape
    dtype: np.dtype[Any]
    is_fortran: bool
    length: int
    nbytes: int

    def array(self, data: bytes) -> NDArray[Any]:
        """Returns the array of these bytes, read-only."""
        return np.ndarray(self.shape, self.dtype, data, order="F" if self.is_fortran else "C")


@contextlib.contextmanager
def decoding() -> Iterator[None]:
    """Makes a ValueError, in one line, of whatever a decoder lets out of damaged bytes.

    Raises:
        ValueError: the bytes are damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers as Python 2 wrote them, and names given twice
            yield
    except MemoryError:  # of a machine that has none left: no claim got as far as that
        raise
    except Exception as error:  # NumPy's and zipfile's are a dozen kinds, and not ours to list
        lines = str(error).split("\n", 1)[0].strip()
        raise ValueError(lines or type(error).__name__) from error


def read_header(file: BinaryIO) -> ArrayHeader:
    """Reads the header of a .npy file, and nothing behind it.

    Raises:
        ValueError: it is none, its array could not be, or is one of pickled objects.
    """
    with decoding():
        magic = file.read(8)
        count = 2 if magic[6:7] == b"\x01" else 4
        size = file.read(count)
        length = int.from_bytes(size, "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length:,} bytes")
        rest = file.read(length)
        header = _parse(magic + size + rest)
    if header.dtype.hasobject:
        raise ValueError(OBJECTS)
    if min(header.shape, default=0) < 0 or not header.dtype.itemsize:
        raise ValueError(f"an array of shape {header.shape} and type {header.dtype}")
    return header


def _parse(text: bytes) -> ArrayHeader:
    file = io.BytesIO(text)
    version = np.lib.format.read_magic(file)
    # The later versions differ in nothing that this tells apart.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    nbytes = int(dtype.itemsize)
    for length in shape:
        nbytes *= int(length)
    return ArrayHeader(tuple(int(length) for length in shape), dtype, bool(is_fortran), len(text), nbytes)


def open_plain(path: Path) -> BinaryIO:
    """Opens a file for reading; the caller closes it.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no plain file: a pipe or a device may never end, or never begin. Or a NUL is in its name.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder is refused by its opening
        raise ValueError("it is no plain file")
    return open(path, "rb")


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """Opens a .npz; its directory is measured before it is read.

    Raises:
        ValueError: it is no archive, or its directory is larger than any of ours.
    """
    with decoding():
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 22 - 65_535 - 20))
        tail = file.read()
        end = tail.rfind(_END)
        directory = int.from_bytes(tail[end + 12 : end + 16], "little")
        if end < 0 or directory > _LARGEST_DIRECTORY or tail[max(0, end - 20) : end].startswith(_LARGE_END):
            raise ValueError("no archive" if end < 0 else "too large a directory")
        return zipfile.ZipFile(file)


def read_arrays(path: Path, names: Container[str] | None = None) -> dict[str, NDArray[Any]]:
    """Reads arrays of a .npz whose members are stored as they are, so that they never take more than the file's size.

    Args:
        path: the file.
        names: which ones to read; by default all.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is damaged, compressed, or not such a file; in one line.
    """
    with open_plain(path) as file, decoding(), open_archive(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):  # could unpack to any size
            raise ValueError("it is compressed")
        if len({member.filename for member in members}) < len(members):
            raise ValueError("it holds a name twice")
        if sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size:  # they share their bytes
            raise ValueError("its arrays overlap")
        keyed = {member.filename.removesuffix(".npy"): member for member in members}
        return {name: _array(archive, member) for name, member in keyed.items() if names is None or name in names}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as opened:
        file = cast(BinaryIO, opened)
        header = read_header(file)
        if header.nbytes != member.file_size - header.length:
            raise ValueError(f"{member.filename[:40]!r} promises {header.nbytes:,} bytes and has others")
        data = file.read(header.nbytes + 1)  # to its end, where its checksum is looked at
        if len(data) != header.nbytes:
            raise ValueError(f"{member.filename[:40]!r} is cut short")
        return header.array(data)
