"""Rows of numbers in text, read in blocks: what the whitespace and the CSV readers share."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import MAX_BYTES, damaged, refuse
from mnistnn.errors import DataError
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
            raise _too_long(path)
        if not line:
            raise refuse(path, "the input must hold at least one image", "holds none", "check how it was made")
        if line.strip():
            return line.decode("latin-1"), start


def _too_long(path: Path) -> DataError:
    got = f"has a line of over {_LONGEST:,} characters"
    return refuse(path, "a text must have one image a line", got, "save it with one image a line")


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
            remedy = "correct that row"
            if ((values >= 0) & (values <= 1)).all():  # as networks are often given them
                remedy = "these look like fractions of full ink: multiply them by 255 and round"
            raise refuse(path, "a value must be a whole number from 0 to 255", got, remedy)
        start += len(values)
        yield values.astype(np.uint8)


def _blocks(file: BinaryIO, path: Path, separator: str) -> Iterator[NDArray[Any]]:
    import pandas as pd  # takes half a second, and only texts need it

    try:
        reader = pd.read_csv(
            _Lines(file, path),
            sep=separator,
            header=None,
            dtype=np.float64,
            chunksize=_BLOCK,
            engine="c",
            encoding="latin-1",
        )
        with reader:
            for block in reader:
                yield block.to_numpy()
    except pd.errors.EmptyDataError:
        return
    except DataError:
        raise
    except (ValueError, OverflowError) as error:  # ParserError is a ValueError
        raise damaged(path, "a text of numbers", error) from error


class _Lines(io.BufferedIOBase):
    """Reads on in a text, as long as its lines are such as images may have.

    The parser would hold all of a line that does not end, and of a quoted value too, at ten times its size.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._length = self._quotes = 0  # of the line that the last piece ended in

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        piece = self._file.read(_LONGEST if size is None or size < 0 else size)
        self._check(piece)
        return piece

    read1 = read

    def _check(self, piece: bytes) -> None:
        first, *others = piece.split(b"\n")
        lines = [self._length + len(first), *map(len, others)]
        if max(lines) > _LONGEST:
            raise _too_long(self._path)
        self._length = lines[-1]
        if self._quotes or b'"' in piece:
            quotes = [self._quotes + first.count(b'"'), *(line.count(b'"') for line in others)]
            if any(count % 2 for count in quotes[:-1]):
                got = "has a quotation mark without another"
                raise refuse(self._path, "a value must end on its own line", got, "correct it")
            self._quotes = quotes[-1]
