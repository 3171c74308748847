from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data.text import read_text
from mnistnn.errors import DataError
from tests.mnistnn.data.formats import IMAGES, table

HERE = Path("le4MNIST_X.txt")
TEXT = table(IMAGES, " ").decode()


def read(text: str) -> np.ndarray:
    return read_text(io.BytesIO(text.encode()), HERE)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("\n"),
        TEXT.replace(" ", "\t"),
        TEXT.replace("\n", "\r\n"),
        "\n\n" + TEXT.replace("\n", "  \n\n"),
        "  " + TEXT.replace("\n", "\n  "),
        "\ufeff" + TEXT,
    ],
    ids=["plain", "no end", "tabs", "CRLF", "blank lines", "indented", "byte order mark"],
)
def test_white_space_does_not_matter(text: str) -> None:
    np.testing.assert_array_equal(read(text), IMAGES)


def test_as_savetxt_writes_it() -> None:
    file = io.BytesIO()
    np.savetxt(file, IMAGES.reshape(3, -1))
    np.testing.assert_array_equal(read_text(file, HERE), IMAGES)


def test_more_images_than_a_block() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5_000, 28, 28), np.uint8)
    np.testing.assert_array_equal(read(table(images, " ").decode()), images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!DOCTYPE html>\n<html>", "looks like a web page"),
        ("1 2 3\n", "784 numbers a line, but le4MNIST_X.txt has 3"),
        ("\n \n", "holds none"),
        (TEXT + TEXT[:100] + "\n", "has no number in row 4"),
        (
            TEXT + " ".join(["1"] * 785),
            "is damaged (Error tokenizing data. C error: Expected 784 fields in line 4, saw 785",
        ),
        (" ".join(["256"] * 784), "from 0 to 255, but le4MNIST_X.txt has 256 in row 1, column 1"),
        (" ".join(["-1"] * 784), "has -1 in row 1"),
        (" ".join(["0.5"] * 784), "has 0.5 in row 1"),
        (" ".join(["nan"] * 784), "has no number in row 1"),
        (" ".join(["inf"] * 784), "has inf in row 1"),
        (" ".join(["one"] * 784), "could not convert"),
        ("0" * 70_000, "one image a line"),
    ],
)
def test_bad_texts_are_refused(text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fractions_of_full_ink_are_told_from_a_bad_row() -> None:
    row = " ".join(["0", "0.5", "1"] + ["0"] * 781)
    with pytest.raises(DataError, match="look like fractions of full ink: multiply them by 255 and round"):
        read_text(io.BytesIO(row.encode()), Path("x.txt"))
    with pytest.raises(DataError, match="correct that row"):
        read_text(io.BytesIO(row.replace("1", "7", 1).encode()), Path("x.txt"))
