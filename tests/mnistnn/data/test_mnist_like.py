from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter

from mnistnn.data import Dataset, as_mnist, has_light_ground
from mnistnn.errors import DataError
from mnistnn.types import UInt8s


@pytest.fixture(scope="module")
def digits(sample: Dataset) -> UInt8s:
    return sample.split(0)[0].take()[0][:200]


def thick_three(side: int = 600) -> UInt8s:
    """A 3 of thick lines in the upper left corner."""
    picture = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(picture)
    for top, bottom in ((0.06, 0.28), (0.25, 0.5)):
        draw.arc([0.05 * side, top * side, 0.3 * side, bottom * side], -150, 130, fill=255, width=side // 18)
    return np.asarray(picture)


def enlarged(digit: UInt8s, scale: int, *, smooth: float = 0.4) -> UInt8s:
    """The digit as a pen would have drawn it: larger, with sharp edges."""
    size = (28 * scale, 28 * scale)
    picture = Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC)
    blurred = picture.filter(ImageFilter.GaussianBlur(smooth * scale))
    return np.asarray(blurred.point(lambda value: 255 if value > 110 else 0))


def centre(image: UInt8s) -> tuple[float, float]:
    mass, at = image.astype(float), np.arange(28)
    return float(mass.sum(axis=1) @ at / mass.sum()), float(mass.sum(axis=0) @ at / mass.sum())


def box(image: UInt8s) -> tuple[int, int]:
    inked = image > 40  # not the shade of a hundredth of a pixel
    return int(np.ptp(np.flatnonzero(inked.any(axis=1)))) + 1, int(np.ptp(np.flatnonzero(inked.any(axis=0)))) + 1


def likeness(image: UInt8s, digit: UInt8s) -> float:
    """The correlation; where the centre of mass lies between two pixels, one may be at either."""
    shifted = [np.roll(image, shift, (0, 1)) for shift in np.ndindex(3, 3)]
    wanted = np.roll(digit, (1, 1), (0, 1)).ravel()
    return max(float(np.corrcoef(each.ravel(), wanted)[0, 1]) for each in shifted)


def test_mnists_own_come_back_as_they_were(digits: UInt8s) -> None:
    made = np.stack([as_mnist(digit) for digit in digits])
    same = (made == digits).all(axis=(1, 2))
    assert same.mean() >= 0.99
    assert not any(has_light_ground(digit) for digit in digits)


def test_dark_on_light_is_inverted(digits: UInt8s) -> None:
    for digit in digits[:50]:
        assert has_light_ground(255 - digit)
        np.testing.assert_array_equal(as_mnist(255 - digit), as_mnist(digit))


def test_a_large_thick_three_in_a_corner_becomes_like_mnists() -> None:
    made = as_mnist(thick_three())
    assert made.shape == (28, 28)
    assert made.dtype == np.uint8
    assert made.max() >= 230
    assert max(box(made)) in (19, 20, 21)
    assert centre(made) == pytest.approx((14, 14), abs=0.55)
    assert (made == 0).mean() > 0.6
    assert ((made > 0) & (made < 255)).mean() > 0.05  # antialiased


@pytest.mark.parametrize("scale", [3, 10, 25])
def test_size_and_place_change_little(digits: UInt8s, scale: int) -> None:
    for digit in digits[:10]:
        large = enlarged(digit, scale)
        somewhere = np.pad(large, ((7 * scale, scale), (2 * scale, 11 * scale)))
        made = as_mnist(somewhere)
        assert likeness(made, digit) > 0.95
        assert centre(made) == pytest.approx((14, 14), abs=0.6)
        assert likeness(made, as_mnist(large)) > 0.99


def test_a_narrow_digit_keeps_its_proportions() -> None:
    picture = np.zeros((300, 300), np.uint8)
    picture[40:240, 250:270] = 255
    rows, columns = box(as_mnist(picture))
    assert (rows, columns) == (20, 2)


def test_what_is_far_from_its_centre_is_not_cut() -> None:
    picture = np.zeros((200, 200), np.uint8)
    picture[0:30, 0:30] = 255  # a lump that draws the centre of mass to itself
    picture[0:200, 3:6] = 255
    assert box(as_mnist(picture))[0] in (19, 20)


@pytest.mark.parametrize("shade", [0, 60, 120])
def test_a_photo_with_uneven_light_noise_and_specks(digits: UInt8s, shade: int) -> None:
    rng = np.random.default_rng(shade)
    worst = 1.0
    for digit in digits[:8]:
        ink = np.zeros((480, 640))
        ink[150:430, 40:320] = enlarged(digit, 10) / 255
        ink[30:34, 500:504] = 1  # a speck
        ink[:, 630:] = 1  # the table beside the paper
        y, x = np.mgrid[0:1:480j, 0:1:640j]
        paper = 190 + shade * ((y - 0.5) * 0.7 + (x - 0.5) * 0.6)
        photo = np.clip(paper * (1 - 0.7 * ink) + rng.normal(0, 8, ink.shape), 0, 255).astype(np.uint8)
        assert has_light_ground(photo)
        worst = min(worst, likeness(as_mnist(photo), as_mnist(enlarged(digit, 10))))
    assert worst > 0.95


def test_thin_lines_are_as_dark_as_mnists() -> None:
    picture = Image.new("L", (600, 600), 255)
    ImageDraw.Draw(picture).line([(100, 80), (420, 90), (200, 520)], fill=0, width=6)
    assert as_mnist(np.asarray(picture)).max() == 255


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_blank_image_is_refused(level: int) -> None:
    with pytest.raises(DataError, match="is blank"):
        as_mnist(np.full((40, 50), level, np.uint8))


def test_paper_alone_is_refused() -> None:
    paper = np.random.default_rng(1).normal(200, 3, (300, 300)).astype(np.uint8)
    with pytest.raises(DataError, match="is blank"):
        as_mnist(paper)


@pytest.mark.parametrize("image", [np.zeros((28, 28)), np.zeros((28, 28, 3), np.uint8), np.zeros((1, 9), np.uint8)])
def test_what_is_no_grey_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"an array \(height, width\) of uint8"):
        as_mnist(image)


@given(arrays(np.uint8, st.tuples(st.integers(2, 70), st.integers(2, 70))))
def test_anything_is_answered_or_refused(image: UInt8s) -> None:
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            made = as_mnist(image)
        except DataError:
            return
    assert made.shape == (28, 28)
    assert made.max() >= 200
    np.testing.assert_array_equal(image, before)
