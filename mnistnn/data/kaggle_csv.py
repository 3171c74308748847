"""Images as CSV: the Digit Recognizer's `label,pixel0,…,pixel783`, with or without the label and the header."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from mnistnn.data.checks import PIXELS, SIDE, as_labels, refuse
from mnistnn.data.tables import first_line, number_rows
from mnistnn.types import UInt8s

__all__ = ["read_csv"]


def read_csv(file: BinaryIO, path: Path) -> tuple[UInt8s, UInt8s | None]:
    """Returns the images of a CSV and its labels, if it has them.

    Without a header 785 columns are a label and 784 pixels; with one, the column called `label` is the label.

    Shape: → (N, 28, 28) and (N,)

    Raises:
        DataError: empty, other columns, or values that are not whole numbers from 0 to 255 (0 to 9 for a label).
    """
    line, start = first_line(file, path)
    names = [name.strip().strip("\"'").casefold() for name in line.split(",")]
    headed = not any(_is_number(name) for name in names)
    if headed:
        label = names.index("label") if "label" in names else None
    else:
        label = 0 if len(names) == PIXELS + 1 else None
        file.seek(start)
    if len(names) != PIXELS + (label is not None):
        named = "and one called `label`" if label is not None else "and none called `label`"
        got = f"has {len(names)} columns{f' {named}' if headed else ''}"
        raise refuse(path, f"a CSV of images must have {PIXELS} pixels a row, and may have a label", got, "correct it")
    blocks = list(number_rows(file, path, separator=",", columns=len(names)))
    if not blocks:
        raise refuse(path, "a CSV must hold at least one image", "holds only a header", "check how it was made")
    rows = np.concatenate(blocks)
    if label is None:
        return rows.reshape(-1, SIDE, SIDE), None
    labels = as_labels(rows[:, label], len(rows), path)
    return np.delete(rows, label, axis=1).reshape(-1, SIDE, SIDE), labels


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text not in ("nan", "inf", "infinity")
