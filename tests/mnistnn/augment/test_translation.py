from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.augment.translation import Translation
from mnistnn.types import UInt8s


def moved(image: UInt8s, down: int, right: int) -> UInt8s:
    """The same by another road: roll, and wipe what came round."""
    height, width = image.shape
    out = np.roll(image, (down, right), (0, 1))
    out[: max(down, 0)] = 0
    out[height + min(down, 0) :] = 0
    out[:, : max(right, 0)] = 0
    out[:, width + min(right, 0) :] = 0
    return out


@given(st.integers(1, 8), st.integers(9, 15), st.integers(9, 15), st.integers(1, 6), st.integers(0, 2**32))
def test_each_image_is_moved_as_a_whole_and_filled_with_zeros(
    shift: int, height: int, width: int, n: int, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(1, 256, (n, height, width), np.uint8)
    out = Translation(shift=shift).build((height, width), 6)(images, np.random.default_rng(seed))
    reach = range(-shift, shift + 1)
    for image, result in zip(images, out, strict=True):
        assert any(np.array_equal(result, moved(image, down, right)) for down in reach for right in reach)


def test_every_move_is_equally_likely_and_drawn_per_image_and_axis() -> None:
    dot = np.zeros((5000, 28, 28), np.uint8)
    dot[:, 14, 14] = 255
    out = Translation(shift=2).build((28, 28), 5000)(dot, np.random.default_rng(0))
    _, rows, columns = np.nonzero(out)
    counts = np.histogram2d(rows, columns, bins=(range(12, 18), range(12, 18)))[0]
    assert counts.sum() == 5000
    # 25 moves, 200 expected of each: chi-squared with 24 degrees of freedom is below 52 but once in a thousand.
    assert ((counts - 200) ** 2 / 200).sum() < 52


def test_without_a_shift_the_images_come_back() -> None:
    images = np.ones((3, 28, 28), np.uint8)
    rng = np.random.default_rng(0)
    assert Translation(shift=0).build()(images, rng) is images
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


def test_a_batch_that_is_too_large_is_an_error() -> None:
    with pytest.raises((ValueError, IndexError)):
        Translation().build((28, 28), 2)(np.zeros((3, 28, 28), np.uint8), np.random.default_rng(0))
