"""Any images that a contest may hand out, in whichever format."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mnistnn.data.arrays import read_npy, read_npz
from mnistnn.data.checks import open_input, refuse
from mnistnn.data.gz import gunzip
from mnistnn.data.idx import IMAGES, map_idx, parse_idx
from mnistnn.data.kaggle_csv import read_csv
from mnistnn.data.mnist_like import all_as_mnist
from mnistnn.data.photo import read_photo
from mnistnn.data.png import read_folder, read_picture
from mnistnn.data.tables import first_line
from mnistnn.data.text import read_text
from mnistnn.files import sha256_file
from mnistnn.types import UInt8s

__all__ = ["ImageFile", "read_images"]

_OTHERS = {
    b"BM": "a BMP picture",
    b"GIF8": "a GIF picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"RIFF": "a WebP picture",
    b"%PDF": "a PDF",
}
_NUMBER = re.compile(r"(?:^|[\s,;])\"?[-+]?[0-9.]+(?:e[-+]?[0-9]+)?\"?(?=[\s,;]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageFile:
    """Images as they were given.

    Attributes:
        digest: the SHA-256 of the file as it lies there, gzipped or not.
        format: what the file is, in words.
        names: of a folder's pictures, one an image; None where the images have none.

    Shape: images: (N, 28, 28) uint8; labels: (N,) uint8 or None
    """

    images: UInt8s
    labels: UInt8s | None
    digest: str
    format: str
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)


def read_images(path: Path, *, as_mnist: bool = False) -> ImageFile:
    """Reads images from a file or a folder.

    What they are is told by the first bytes, and by the name's ending where those say nothing: IDX, .npy, .npz, text
    (784 whole numbers a line), CSV with or without `label`, each of them gzipped or not; one PNG or JPEG; a folder of
    these. All must be 28×28, light ink on dark ground. Floats in 0..1 are scaled to 0..255. Nothing is unpickled.

    Args:
        path: the file or the folder.
        as_mnist: make each image as MNIST was made (`as_mnist`); pictures may then be photos of any size. What is
            blank stays as it is, or becomes zeros where it has another size.

    Returns:
        All images in the file's order (a folder's: by name, numbers by value).

    Raises:
        SizeError: a picture has another size.
        DataError: the input cannot be used; one line says why.
    """
    path = Path(path)
    picture = _read_any_size if as_mnist else read_picture
    if os.path.isdir(path):  # where Path.is_dir raises, as for a name that is too long, opening it says why
        images, names, digest = read_folder(path, picture)
        return ImageFile(images=images, labels=None, digest=digest, format="folder of pictures", names=names)
    with open_input(path) as file:
        digest = sha256_file(path)
        if (head := file.read(8)).startswith(b"\x1f\x8b"):
            content = gunzip(path)
            if not content:
                raise refuse(path, "the input must hold at least one image", "is empty", "fetch it or save it again")
            images, labels, kind = _read(io.BytesIO(content), path.with_suffix(""), path, content[:8], picture)
            kind += ", gzipped"
        else:
            images, labels, kind = _read(file, path, path, head, picture)
    if as_mnist and not kind.startswith("picture"):
        images, _ = all_as_mnist(images)
    return ImageFile(images=images, labels=labels, digest=digest, format=kind)


def _read_any_size(file: BinaryIO, path: Path) -> UInt8s:
    images, _ = all_as_mnist(read_photo(file, path)[None])
    return np.asarray(images[0], np.uint8)


def _read(
    file: BinaryIO, name: Path, path: Path, head: bytes, picture: Callable[[BinaryIO, Path], UInt8s]
) -> tuple[UInt8s, UInt8s | None, str]:
    """Reads by the first bytes and the name's ending; `path` is what error lines name."""
    file.seek(0)
    suffix = name.suffix.lower()
    if head.startswith(b"\x93NUMPY") or suffix == ".npy":
        return read_npy(file, path), None, "npy"
    if head.startswith(b"PK") or suffix == ".npz":
        images, labels = read_npz(file, path)
        return images, labels, "npz"
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff")) or suffix in (".png", ".jpg", ".jpeg"):
        return picture(file, path)[None], None, "picture"
    if head.startswith(b"\0\0") or "idx3" in name.name:
        in_memory = isinstance(file, io.BytesIO)
        return (parse_idx(file.read(), IMAGES, path) if in_memory else map_idx(path, IMAGES)), None, "IDX"
    if head.startswith(b"\x80") or suffix in (".pkl", ".pickle", ".dump"):
        raise refuse(path, "images must come in a format without code", "is a pickle", "save them by `np.save`")
    other = next((kind for start, kind in _OTHERS.items() if head.startswith(start)), "")
    line, _ = ("", 0) if other else first_line(file, path)
    is_text = suffix in (".csv", ".txt") or line.lstrip().startswith("<") or "pixel" in line.casefold()
    if other or not (is_text or _NUMBER.search(line)):
        rule = "images must come as IDX, .npy, .npz, PNG, JPEG, CSV, or text with 784 numbers a line"
        raise refuse(path, rule, f"is {other or 'none of these'}", "save them as one of these, such as PNG")
    if suffix == ".csv" or "," in line:
        images, labels = read_csv(file, path)
        return images, labels, "CSV"
    return read_text(file, path), None, "text"
