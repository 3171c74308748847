from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mnistnn.data.checks import as_images, as_labels, one_line, open_input
from mnistnn.errors import DataError
from tests.mnistnn.data.formats import IMAGES, LABELS

HERE = Path("given.npy")


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 784), (3, 28, 28, 1), (3, 1, 28, 28)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float32, ">f8", ">i4"])
def test_usual_shapes_and_types_are_the_same_images(shape: tuple[int, ...], dtype: str) -> None:
    np.testing.assert_array_equal(as_images(IMAGES.astype(dtype).reshape(shape), HERE), IMAGES)


@pytest.mark.parametrize("shape", [(28, 28), (784,)])
def test_one_image_needs_no_axis_for_it(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(as_images(IMAGES[0].reshape(shape), HERE), IMAGES[:1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_fractions_of_ink_are_scaled(dtype: type) -> None:
    np.testing.assert_array_equal(as_images((IMAGES / 255).astype(dtype), HERE), IMAGES)


def test_booleans_are_no_ink_and_full_ink() -> None:
    np.testing.assert_array_equal(as_images(IMAGES > 0, HERE), np.where(IMAGES > 0, 255, 0))


def test_other_floats_are_rounded() -> None:
    image = np.full((1, 28, 28), 100.6)
    assert as_images(image, HERE)[0, 0, 0] == 101


def test_whole_numbers_are_not_scaled() -> None:
    assert as_images(np.ones((1, 784), np.int64), HERE).max() == 1


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 32, 32), np.uint8), "(2, 32, 32)"),
        (np.zeros((2, 783), np.uint8), "(2, 783)"),
        (np.zeros((0, 784), np.uint8), "holds none"),
        (np.zeros((2, 784), "U1"), "<U1"),
        (np.zeros((2, 784), complex), "complex128"),
        (np.full((2, 784), np.nan), "NaN"),
        (np.full((2, 784), -np.inf), "infinity in image 1"),
        (np.full((2, 784), 256), "from 256 to 256"),
        (np.full((2, 784), -1, np.int8), "from -1 to -1"),
        (np.full((2, 784), -0.42), "undo its normalisation"),
    ],
)
def test_what_is_no_image_is_refused(array: np.ndarray, words: str) -> None:
    with pytest.raises(DataError) as caught:
        as_images(array, HERE)
    assert words in str(caught.value)
    assert "given.npy" in str(caught.value)


def test_the_image_with_nan_is_named() -> None:
    images = np.zeros((5, 28, 28), np.float32)
    images[3, 5, 5] = np.nan
    with pytest.raises(DataError, match="image 4"):
        as_images(images, HERE)


@given(arrays.arrays(st.sampled_from(["f4", "f8", "i8", "u1", "?"]), (1, 784)))
def test_any_numbers_become_bytes_or_an_error(array: np.ndarray) -> None:
    try:
        images = as_images(array, HERE)
    except DataError:
        pass
    else:
        assert images.dtype == np.uint8
        assert images.shape == (1, 28, 28)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64])
def test_labels_of_any_type(dtype: type) -> None:
    labels = as_labels(LABELS.astype(dtype), 3, HERE)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(as_labels(LABELS.reshape(3, 1), 3, HERE), LABELS)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([1, 2]), "must match the images (3)"),
        (np.zeros((3, 10)), "(3, 10)"),
        (np.array([1, 10, 2]), "has 10 at 1"),
        (np.array([1, 2, -1]), "has -1 at 2"),
        (np.array([1.5, 2, 1]), "has 1.5 at 0"),
        (np.array([np.nan, 2, 1]), "has nan at 0"),
        (np.array(["1", "2", "3"]), "type <U1"),
    ],
)
def test_what_are_no_labels_is_refused(labels: np.ndarray, words: str) -> None:
    with pytest.raises(DataError) as caught:
        as_labels(labels, 3, HERE)
    assert words in str(caught.value)


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    line.encode()  # no lone surrogates, which no terminal takes


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path, words in [
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "empty", "is empty"),
        (tmp_path / "a\0b", "null"),
    ]:
        with pytest.raises(DataError, match=words):
            open_input(path)
