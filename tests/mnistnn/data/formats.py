"""The same few images in every format, for the tests of the readers."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.idx import encode_idx
from mnistnn.types import UInt8s

__all__ = ["IMAGES", "LABELS", "all_formats", "npy", "npz", "png", "png_header", "table"]

_rng = np.random.default_rng(1)
IMAGES: UInt8s = (_rng.integers(0, 256, (3, 28, 28)) * (_rng.random((3, 28, 28)) < 0.2)).astype(np.uint8)
LABELS: UInt8s = np.array([7, 0, 9], np.uint8)


def npy(array: NDArray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz(**arrays: NDArray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def table(rows: NDArray, separator: str, header: str | None = None) -> bytes:
    lines = [separator.join(str(value) for value in row) for row in rows.reshape(len(rows), -1)]
    return ("\n".join(([header] if header else []) + lines) + "\n").encode()


def png(image: NDArray, mode: str | None = None, kind: str = "PNG", **options: object) -> bytes:
    from PIL import Image

    picture, file = Image.fromarray(image), io.BytesIO()
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds almost nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def header(*, label: bool) -> str:
    return ",".join(["label"] * label + [f"pixel{k}" for k in range(784)])


def all_formats() -> dict[str, bytes]:
    """The images as files, by name; in a JPEG and a PNG only the first one."""
    rows = IMAGES.reshape(3, -1)
    return {
        "images-idx3-ubyte": encode_idx(IMAGES),
        "images-idx3-ubyte.gz": gzip.compress(encode_idx(IMAGES), mtime=0),
        "images.npy": npy(IMAGES),
        "floats.npy": npy(IMAGES.astype(np.float32) / 255),
        "images.npz": npz(images=IMAGES, labels=LABELS),
        "images.txt": table(IMAGES, " "),
        "images.txt.gz": gzip.compress(table(IMAGES, " "), mtime=0),
        "test.csv": table(IMAGES, ",", header(label=False)),
        "train.csv": table(np.c_[LABELS, rows], ",", header(label=True)),
        "image.png": png(IMAGES[0]),
        "image.jpg": png(IMAGES[0], kind="JPEG"),
    }
