from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistnn.data import read_photo
from mnistnn.errors import DataError
from mnistnn.types import UInt8s
from tests.mnistnn.data.formats import png, png_header

HERE = Path("photo.jpg")
RAMP = np.linspace(20, 220, 60 * 90).reshape(60, 90).astype(np.uint8)


def read(data: bytes) -> UInt8s:
    return read_photo(io.BytesIO(data), HERE)


@pytest.mark.parametrize("mode", [None, "RGB", "RGBA", "LA"])
def test_any_size_and_mode_becomes_grey(mode: str | None) -> None:
    made = read(png(RAMP, mode))
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, RAMP)


def test_sixteen_bits_and_palettes() -> None:
    np.testing.assert_array_equal(read(png(RAMP.astype(np.uint16) * 257)), RAMP)
    assert np.abs(read(png(RAMP, "P")).astype(int) - RAMP).max() < 8
    np.testing.assert_array_equal(read(png(RAMP > 100)), np.where(RAMP > 100, 255, 0))


def test_colour_jpeg() -> None:
    assert np.abs(read(png(RAMP, "RGB", kind="JPEG", quality=95)).astype(int) - RAMP).max() < 8
    assert np.abs(read(png(RAMP, "CMYK", kind="JPEG", quality=95)).astype(int) - RAMP).max() < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_it_is_turned_as_the_camera_was_held(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    made = read(png(RAMP, kind=kind, exif=exif))
    assert made.shape == (90, 60)
    assert made[0, -1] < made[-1, 0]  # what came first is at the right


@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (255, 0)])
def test_what_is_transparent_is_ground_for_the_ink(ink: int, ground: int) -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 18:22] = (ink, ink, ink, 255)
    made = read(png(pixels))
    assert made[20, 20] == ink
    assert made[0, 0] == ground


def test_large_ones_are_brought_down() -> None:
    large = np.asarray(Image.fromarray(RAMP).resize((3000, 2000)))
    for kind in ("PNG", "JPEG"):
        made = read(png(large, kind=kind))
        assert made.shape == (683, 1024)
        assert 20 <= made[0, 0] < 30


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_header(50_000, 50_000), "has far more"),
        (png_header(12_000, 12_000), "has 12,000×12,000"),
        (png_header(900, 1), "2 pixels a side"),
        (png_header(900, 900), "is damaged"),
        (png(RAMP)[:80], "is damaged"),
        (png(RAMP, kind="GIF"), "must be a PNG or a JPEG"),
        (png(RAMP, kind="TIFF"), "must be a PNG or a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "must be a PNG or a JPEG"),
        (b"", "must be a PNG or a JPEG"),
    ],
)
def test_bad_pictures_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
