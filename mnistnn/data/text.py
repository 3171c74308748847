"""Images as text: one a line, 784 whole numbers with white space between them (the Kyoto contest's format)."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from mnistnn.data.checks import PIXELS, SIDE, refuse
from mnistnn.data.tables import first_line, number_rows
from mnistnn.types import UInt8s

__all__ = ["read_text"]


def read_text(file: BinaryIO, path: Path) -> UInt8s:
    """Returns the images of a whitespace-separated text.

    Shape: → (N, 28, 28)

    Raises:
        DataError: empty, lines of another length, or values that are not whole numbers from 0 to 255.
    """
    line, start = first_line(file, path)
    if line.lstrip().startswith("<"):
        raise refuse(path, "the input must hold images", "looks like a web page", "fetch it again, logged in")
    if (count := len(line.split())) != PIXELS:
        rule = f"a text of images must have {PIXELS} numbers a line"
        raise refuse(path, rule, f"has {count} in its first", "give a file in a format that the README lists")
    file.seek(start)
    return np.concatenate(list(number_rows(file, path, separator=r"\s+", columns=PIXELS))).reshape(-1, SIDE, SIDE)
