from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data.kaggle_csv import read_csv
from mnistnn.errors import DataError
from tests.mnistnn.data.formats import IMAGES, LABELS, header, table

HERE = Path("train.csv")
ROWS = IMAGES.reshape(3, -1)
LABELLED = np.c_[LABELS, ROWS]


@pytest.mark.parametrize(
    ("data", "labelled"),
    [
        (table(LABELLED, ",", header(label=True)), True),
        (table(LABELLED, ","), True),
        (table(LABELLED, ",", '"' + header(label=True).replace(",", '","') + '"'), True),
        (table(np.c_[ROWS, LABELS], ",", header(label=False) + ",Label"), True),
        (b"\xef\xbb\xbf" + table(LABELLED, ",", header(label=True)).replace(b"\n", b"\r\n"), True),
        (b"\xef\xbb\xbf" + table(LABELLED, ","), True),
        (table(ROWS, ",", header(label=False)), False),
        (table(ROWS, ","), False),
    ],
    ids=["train", "no header", "quoted", "label last", "Excel", "Excel, no header", "test", "test, no header"],
)
def test_usual_forms(data: bytes, labelled: bool) -> None:
    images, labels = read_csv(io.BytesIO(data), HERE)
    np.testing.assert_array_equal(images, IMAGES)
    assert labels is None if not labelled else np.array_equal(labels, LABELS)


def with_cell(row: int, column: int, text: str) -> bytes:
    lines = table(LABELLED, ",", header(label=True)).decode().splitlines()
    cells = lines[row].split(",")
    cells[column] = text
    lines[row] = ",".join(cells)
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_cell(2, 0, "10"), "a label must be a digit from 0 to 9"),
        (with_cell(2, 5, "256"), "has 256 in row 2, column 6"),
        (with_cell(3, 5, ""), "has no number in row 3, column 6"),
        (with_cell(3, 5, "NaN"), "has no number in row 3, column 6"),
        (with_cell(3, 5, "7.5"), "has 7.5 in row 3, column 6"),
        (with_cell(3, 5, "x"), "could not convert"),
        (with_cell(3, 5, "1,1"), "is damaged"),
        (with_cell(3, 5, '"1'), "is damaged"),
        (with_cell(0, 0, "digit"), "has 785 columns and none called `label`"),
        (table(LABELLED[:, :784], ",", header(label=True)[:-9]), "has 784 columns and one called `label`"),
        (table(LABELLED[:, :100], ","), "has 100 columns"),
        (header(label=True).encode(), "holds only a header"),
        (b"ImageId,Label\n1,2\n", "has 2 columns"),
    ],
)
def test_bad_tables_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read_csv(io.BytesIO(data), HERE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_first_row_with_a_fault_is_not_taken_for_a_header() -> None:
    cells = table(LABELLED, ",").decode()
    with pytest.raises(DataError, match="could not convert"):
        read_csv(io.BytesIO(("x" + cells).encode()), HERE)
