"""IDX, MNIST's own format: a magic number and sizes, big-endian, then bytes. Source: LeCun, Cortes and Burges 1998."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnistnn.data.checks import as_labels, check_side, open_input, refuse
from mnistnn.files import atomic_write
from mnistnn.types import Shape, UInt8s

__all__ = [
    "IMAGES",
    "LABELS",
    "IdxKind",
    "encode_idx",
    "idx_count",
    "idx_length",
    "idx_shape",
    "map_idx",
    "parse_idx",
    "write_idx",
]


@dataclass(frozen=True, slots=True)
class IdxKind:
    """What an IDX file holds: its name in error lines, its magic number, and the bytes of its header."""

    noun: str
    magic: int
    header: int


IMAGES = IdxKind("images", 2051, 16)
LABELS = IdxKind("labels", 2049, 8)


def idx_shape(header: bytes, kind: IdxKind, path: Path) -> Shape:
    """Returns the shape that the first bytes of an IDX file promise: (N, 28, 28) or (N,).

    Raises:
        DataError: another magic number, another size of image, none at all, or too few bytes for a header.
    """
    magic = int.from_bytes(header[:4], "big")
    if magic != kind.magic:
        other = IMAGES if kind is LABELS else LABELS
        hint = f"those are {other.noun}; give" if magic == other.magic else "give"
        rule = f"an IDX file of {kind.noun} must begin with the magic number {kind.magic}"
        raise refuse(path, rule, f"begins with {magic}", f"{hint} the file of {kind.noun}, as it was fetched")
    if len(header) < kind.header:
        rule = f"an IDX file of {kind.noun} must begin with {kind.header} bytes of header"
        raise refuse(path, rule, f"has {len(header)} bytes (truncated)", "fetch it again")
    count, *side = struct.unpack_from(f">{kind.header // 4 - 1}I", header, 4)
    if kind is IMAGES:
        check_side(tuple(side), path)
    if not count:
        raise refuse(path, f"an IDX file of {kind.noun} must hold at least one", "holds none", "fetch it again")
    return (count, *side)


def idx_length(shape: Shape, kind: IdxKind) -> int:
    """Returns how many bytes an IDX file of this shape has."""
    return kind.header + int(np.prod(shape, dtype=np.int64))


def _check_length(size: int, shape: Shape, kind: IdxKind, path: Path) -> None:
    expected = idx_length(shape, kind)
    if size != expected:
        fault = "truncated" if size < expected else "trailing bytes"
        rule = f"an IDX file of {shape[0]:,} {kind.noun} must have {expected:,} bytes"
        raise refuse(path, rule, f"has {size:,} ({fault})", "fetch it again")


def idx_count(path: Path, kind: IdxKind) -> int:
    """Returns how many images or labels an IDX file holds, by its header alone; its length is checked.

    Raises:
        DataError: not such a file, truncated, or with trailing bytes.
    """
    with open_input(path) as file:
        shape = idx_shape(file.read(kind.header), kind, path)
        _check_length(file.seek(0, 2), shape, kind, path)
    return shape[0]


def map_idx(path: Path, kind: IdxKind) -> UInt8s:
    """Returns an uncompressed IDX file as a read-only array on the file itself, shared by all who map it.

    Shape: (N, 28, 28) for images, (N,) for labels

    Raises:
        DataError: not such a file, truncated, with trailing bytes, or a label that is no digit.
    """
    with open_input(path) as file:
        shape = idx_shape(file.read(kind.header), kind, path)
        _check_length(file.seek(0, 2), shape, kind, path)
        mapped = np.memmap(file, np.uint8, "r", offset=kind.header, shape=shape)
    values = np.asarray(mapped)  # a plain view: the subclass would cost time at every slice
    if kind is LABELS:
        as_labels(values, shape[0], path)
    return values


def parse_idx(data: bytes, kind: IdxKind, path: Path) -> UInt8s:
    """Returns what an IDX file's bytes hold, as a read-only array on these bytes.

    Shape: (N, 28, 28) for images, (N,) for labels

    Raises:
        DataError: as `map_idx`.
    """
    shape = idx_shape(data[: kind.header], kind, path)
    _check_length(len(data), shape, kind, path)
    values = np.frombuffer(data, np.uint8, offset=kind.header).reshape(shape)
    if kind is LABELS:
        as_labels(values, shape[0], path)
    return values


def encode_idx(values: UInt8s) -> bytes:
    """Returns images (N, 28, 28) or labels (N,) as the bytes of an IDX file."""
    kind = IMAGES if values.ndim == 3 else LABELS
    return struct.pack(f">{1 + values.ndim}I", kind.magic, *values.shape) + values.tobytes()


def write_idx(path: Path, values: UInt8s) -> None:
    """Writes images (N, 28, 28) or labels (N,) as an IDX file, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(encode_idx(values))
