from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistnn.data.png import read_folder, read_picture
from mnistnn.errors import DataError
from tests.mnistnn.data.formats import IMAGES, png, png_header

HERE = Path("digit.png")
IMAGE = IMAGES[0]


def read(data: bytes) -> np.ndarray:
    return read_picture(io.BytesIO(data), HERE)


@pytest.mark.parametrize("mode", [None, "RGB", "RGBA", "LA", "P"])
def test_modes_are_brought_to_grey(mode: str | None) -> None:
    np.testing.assert_array_equal(read(png(IMAGE, mode)), IMAGE)


def test_black_and_white() -> None:
    np.testing.assert_array_equal(read(png(IMAGE > 0)), np.where(IMAGE > 0, 255, 0))


def test_sixteen_bits() -> None:
    np.testing.assert_array_equal(read(png(IMAGE.astype(np.uint16) * 257)), IMAGE)


def test_what_is_transparent_is_ground() -> None:
    pixels = np.full((28, 28, 4), 255, np.uint8)
    pixels[..., 3] = IMAGE
    np.testing.assert_array_equal(read(png(pixels)), IMAGE)


def test_jpeg_is_near() -> None:
    smooth = np.linspace(0, 255, 784).reshape(28, 28).astype(np.uint8)
    assert np.abs(read(png(smooth, kind="JPEG", quality=95)).astype(int) - smooth).max() < 8


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(np.zeros((32, 28), np.uint8)), "holds 32×28"),
        (png_header(50_000, 50_000), "is far larger"),
        (png_header(12_000, 12_000), "holds 12000×12000"),
        (png(IMAGE)[:60], "is damaged"),
        (png(IMAGE)[:20], "is damaged"),
        (b"GIF89a" + bytes(100), "is damaged"),
    ],
)
def test_bad_pictures_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_format_under_a_false_name_is_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "TIFF")
    with pytest.raises(DataError, match="is damaged"):
        read(file.getvalue())


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    order = ["1.png", "2.png", "10.png"]
    for name, image in zip(order, IMAGES, strict=True):
        (tmp_path / name).write_bytes(png(image))
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "._1.png").write_text("what a Mac leaves behind")
    images, names, digest = read_folder(tmp_path)
    np.testing.assert_array_equal(images, IMAGES)
    assert names == tuple(order)
    assert read_folder(tmp_path)[2] == digest
    (tmp_path / "10.png").rename(tmp_path / "11.png")
    assert read_folder(tmp_path)[2] != digest


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none"):
        read_folder(tmp_path)


def test_the_bad_picture_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png(IMAGE))
    (tmp_path / "2.png").write_bytes(png(IMAGE)[:50])
    with pytest.raises(DataError, match=r"2\.png is damaged"):
        read_folder(tmp_path)
