"""Rows of numbers in text, read in blocks: what the whitespace and the CSV readers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import MAX_BYTES, damaged, refuse
from mnistnn.types import UInt8s

__all__ = ["first_line", "number_rows"]

_LONGEST = 1 << 16  # 785 numbers as `np.savetxt` writes them have 20,000 characters
_BLOCK = 2048


def first_line(file: BinaryIO, path: Path) -> tuple[str, int]:
    """Returns the first line of a text that is not blank, and where it starts; the file is left behind that line.

    Raises:
        DataError: the text is too large, has only blank lines, or such long ones that they are no images.
    """
    if (size := file.seek(0, 2)) > MAX_BYTES:
        rule = f"a text must have at most {MAX_BYTES:,} bytes"
        raise refuse(path, rule, f"has {size:,}", "split it, or save the images as .npy")
    file.seek(0)
    if file.read(3) != b"\xef\xbb\xbf":  # the byte order mark of Excel's UTF-8
        file.seek(0)
    while True:
        start = file.tell()
        line = file.readline(_LONGEST)
        if len(line) == _LONGEST:
            got = f"has a line of over {_LONGEST:,} characters"
            raise refuse(path, "a text must have one image a line", got, "save it with one image a line")
        if not line:
            raise refuse(path, "the input must hold at least one image", "holds none", "check how it was made")
        if line.strip():
            return line.decode("latin-1"), start


def number_rows(file: BinaryIO, path: Path, *, separator: str, columns: int) -> Iterator[UInt8s]:
    """Yields the rows from here to the end of a text, a block at a time.

    Shape: → (rows, columns) uint8

    Raises:
        DataError: rows of another length, or a value that is not a whole number from 0 to 255.
    """
    start = 0
    for values in _blocks(file, path, separator):
        if values.shape[1] != columns:
            got = f"has {values.shape[1]} in row {start + 1}"
            raise refuse(path, f"each row must have {columns} numbers", got, "correct that row")
        good = (values >= 0) & (values <= 255) & (values == np.rint(values))  # NaN is none of these
        if not good.all():
            row, column = (int(n) for n in np.argwhere(~good)[0])
            value = values[row, column]
            shown = "no number" if np.isnan(value) else f"{value:g}"
            got = f"has {shown} in row {start + row + 1}, column {column + 1}"
            raise refuse(path, "a value must be a whole number from 0 to 255", got, "correct that row")
        start += len(values)
        yield values.astype(np.uint8)


def _blocks(file: BinaryIO, path: Path, separator: str) -> Iterator[NDArray[Any]]:
    import pandas as pd  # takes half a second, and only texts need it

    try:
        reader = pd.read_csv(
            file, sep=separator, header=None, dtype=np.float64, chunksize=_BLOCK, engine="c", encoding="latin-1"
        )
        with reader:
            for block in reader:
                yield block.to_numpy()
    except pd.errors.EmptyDataError:
        return
    except (ValueError, OverflowError) as error:  # ParserError is a ValueError
        raise damaged(path, "a text of numbers", error) from error
