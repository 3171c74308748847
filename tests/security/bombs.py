"""Files that would do harm if they were believed: pickles that act, and archives and headers that promise too much."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Entry", "PickleBomb", "deflated_zeros", "gz_bomb", "npy_header", "overlapping_zip", "zip_of"]

_PIECE = 1 << 20


@dataclass(frozen=True)
class PickleBomb:
    """Makes the folder `marker` when it is unpickled."""

    marker: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)

    @property
    def went_off(self) -> bool:
        return self.marker.exists()

    def raw(self) -> bytes:
        return pickle.dumps(self)

    def npy(self) -> bytes:
        """An array of objects, as `np.save` writes it."""
        file = io.BytesIO()
        np.save(file, np.array([self], object), allow_pickle=True)
        return file.getvalue()

    def npz(self, *names: str, **sound: np.ndarray) -> bytes:
        """An archive with the bomb under each of `names`, beside sound arrays."""
        file = io.BytesIO()
        np.savez(file, allow_pickle=True, **dict.fromkeys(names, np.array([self], object)), **sound)
        return file.getvalue()


def npy_header(shape: tuple[int, ...], descr: str = "|u1", version: int = 1) -> bytes:
    """The header of an array that need not follow."""
    text = str({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def deflated_zeros(size: int, first: bytes = b"") -> bytes:
    """`first` and `size` zeros as a raw deflate stream, which a thousandth of the time makes as compressing them."""
    start = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = start.compress(first) + start.flush(zlib.Z_FULL_FLUSH)
    again = zlib.compressobj(9, zlib.DEFLATED, -15)
    again.compress(bytes(_PIECE))
    again.flush(zlib.Z_FULL_FLUSH)
    piece = again.compress(bytes(_PIECE)) + again.flush(zlib.Z_FULL_FLUSH)
    return head + piece * (size // _PIECE) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def gz_bomb(size: int, first: bytes = b"") -> bytes:
    """A gzipped file of `first` and `size` zeros; its checksum, which stands at its end, is wrong."""
    return b"\x1f\x8b\x08\0\0\0\0\0\2\xff" + deflated_zeros(size, first) + struct.pack("<2I", 0, size % (1 << 32))


@dataclass(frozen=True)
class Entry:
    """A member of an archive: its bytes as they are stored, and what the archive says of them."""

    name: str
    data: bytes
    size: int
    method: int = zipfile.ZIP_DEFLATED
    checksum: int = 0


def zip_of(*entries: Entry, directory_times: int = 1) -> bytes:
    """An archive whose sizes are as claimed, not as they are; `directory_times` lists all members so many times."""
    body, offsets = b"", {}
    for entry in entries:
        offsets[entry.name] = len(body)
        name = entry.name.encode()
        body += struct.pack(
            "<4s5H3I2H", b"PK\x03\x04", 20, 0, entry.method, 0, 0, 0, len(entry.data), entry.size, len(name), 0
        )
        body += name + entry.data
    listed = []
    for number in range(directory_times):
        for entry in entries:
            name = entry.name.encode() if not number else f"{number}-{entry.name}".encode()
            listed.append(
                struct.pack(
                    "<4s6H3I5H2I",
                    b"PK\x01\x02",
                    20,
                    20,
                    0,
                    entry.method,
                    0,
                    0,
                    entry.checksum or zlib.crc32(entry.data),
                    len(entry.data),
                    entry.size,
                    len(name),
                    0,
                    0,
                    0,
                    0,
                    0,
                    offsets[entry.name],
                )  # fmt: skip
                + name
            )
    directory, count = b"".join(listed), min(len(listed), 65535)
    return body + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)


def overlapping_zip(name: str, data: bytes, times: int) -> bytes:
    """An archive that stores `data` once and lists it many times."""
    return zip_of(Entry(name, data, len(data), zipfile.ZIP_STORED), directory_times=times)
