"""Images as pictures: PNG or JPEG files of 28×28 pixels, light ink on dark ground as in MNIST."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import check_side, damaged, one_line, open_input, refuse
from mnistnn.errors import DataError
from mnistnn.files import sha256_bytes, sha256_file
from mnistnn.types import UInt8s

__all__ = ["is_picture", "read_folder", "read_picture"]

_SUFFIXES = {".png", ".jpg", ".jpeg"}


def is_picture(path: Path) -> bool:
    """Says whether a file's name is that of a picture; hidden files are not."""
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


def read_picture(file: BinaryIO, path: Path) -> UInt8s:
    """Returns one picture in shades of grey. Transparent parts are ground, 16 bits become 8.

    Shape: → (28, 28)

    Raises:
        DataError: damaged, another format, or another size (seen in its header, before it is decoded).
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a picture that is far too large: its size is checked below
            picture = Image.open(file, formats=("PNG", "JPEG"))
            with picture:
                check_side((picture.height, picture.width), path)
                return _grey(picture)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise refuse(path, "an image must be 28×28 pixels", "is far larger", "bring it to 28×28") from error
    except Exception as error:  # Pillow's decoders let out whatever they meet, and they are not ours to list
        raise damaged(path, "a picture", error) from error


def _grey(picture: Any) -> UInt8s:
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits, which `convert` would clip
        deep: NDArray[Any] = np.asarray(picture, np.float64)
        picture = Image.fromarray(np.rint(np.clip(deep, 0, 65535) / 257).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        inked = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", inked.size, "black"), inked)
    return np.asarray(picture.convert("L"), np.uint8)


def read_folder(
    folder: Path, read: Callable[[BinaryIO, Path], UInt8s] = read_picture
) -> tuple[UInt8s, tuple[str, ...], str]:
    """Returns the pictures of a folder in the natural order of their names (2.png before 10.png), these, and a digest.

    The digest is that of the lines which `sha256sum` prints for them in this order, so each name counts too.

    Args:
        folder: the folder.
        read: reads one of them, as `read_picture` does.

    Shape: → (N, 28, 28), N names

    Raises:
        DataError: no pictures, or one that cannot be used.
    """
    try:
        paths = sorted((path for path in folder.iterdir() if is_picture(path)), key=_natural)
    except OSError as error:
        raise refuse(folder, "the input must be readable", f"is not ({error.strerror})", "check its rights") from error
    if not paths:
        raise refuse(folder, "a folder of images must hold PNG or JPEG files", "holds none", "check the name")
    images = np.empty((len(paths), 28, 28), np.uint8)
    lines = []
    for index, path in enumerate(paths):
        with open_input(path) as file:
            images[index] = read(file, path)
        lines.append(f"{sha256_file(path)}  {one_line(path.name)}\n")
    return images, tuple(path.name for path in paths), sha256_bytes("".join(lines).encode())


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name
