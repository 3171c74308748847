from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from mnistnn.augment import rotation_maps, scaling_maps, shear_maps, warp
from mnistnn.augment._resampling import Resampler
from mnistnn.data import Dataset
from mnistnn.types import UInt8s
from tests.mnistnn.augment.test_translation import moved

STAY = np.zeros(2)


def pictures(n: int, height: int, width: int, seed: int = 0) -> UInt8s:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width), np.uint8)


def by_scipy(image: UInt8s, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The same by another road: places in float64, and SciPy's interpolation."""
    middle = (np.array(image.shape) - 1) / 2
    places = np.indices(image.shape).reshape(2, -1) - middle[:, None]
    sources = matrix @ places + (offset + middle)[:, None]
    values = ndimage.map_coordinates(image.astype(np.float64), sources, order=1, mode="grid-constant", cval=0.0)
    return np.asarray(values).reshape(image.shape)


@given(st.integers(4, 15), st.integers(4, 15), st.integers(1, 5), st.integers(0, 2**32))
def test_it_interpolates_as_scipy_does(height: int, width: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = pictures(n, height, width, seed)
    matrices, offsets = rng.normal(0, 1, (n, 2, 2)), rng.normal(0, 4, (n, 2))
    out = warp(images, matrices, offsets)
    for image, matrix, offset, result in zip(images, matrices, offsets, out, strict=True):
        wanted = by_scipy(image, matrix, offset)
        # Half a level for the rounding, and what single precision makes of places.
        assert np.abs(result - wanted).max() < 0.52


def test_what_does_not_move_stays_to_the_byte() -> None:
    images = pictures(3, 11, 8)
    assert warp(images, np.eye(2), STAY).tobytes() == images.tobytes()


@given(st.integers(-12, 12), st.integers(-12, 12))
def test_whole_pixels_are_moved_to_the_byte(down: int, right: int) -> None:
    images = pictures(2, 10, 9)
    out = warp(images, np.eye(2), np.array([-down, -right]))
    if abs(down) < 10 and abs(right) < 9:
        assert out.tobytes() == np.stack([moved(image, down, right) for image in images]).tobytes()
    else:
        assert not out.any()


def test_a_quarter_turn_is_to_the_left() -> None:
    images = pictures(2, 9, 9)
    out = warp(images, rotation_maps(np.array([90.0, -90.0])), STAY)
    assert out[0].tobytes() == np.rot90(images[0]).tobytes()
    assert out[1].tobytes() == np.rot90(images[1], -1).tobytes()


def test_a_scale_of_two_is_twice_as_high() -> None:
    bar = np.zeros((1, 15, 15), np.uint8)
    bar[0, 5:10, 7] = 200
    tall = warp(bar, scaling_maps(np.array([2.0]), np.array([1.0])), STAY)
    assert np.count_nonzero(tall[0, :, 7] == 200) == 9  # places 0 to 4 of five pixels, half a pixel apart
    assert not tall[0, :, :7].any()
    wide = warp(bar, scaling_maps(np.array([1.0]), np.array([2.0])), STAY)
    assert wide[0, 7, 5:10].tolist() == [0, 100, 200, 100, 0]


def test_a_shear_leans_to_the_right_and_leaves_the_middle() -> None:
    bar = np.zeros((1, 9, 9), np.uint8)
    bar[0, :, 4] = 255
    out = warp(bar, shear_maps(np.array([1.0])), STAY)
    assert np.array_equal(out[0], 255 * np.fliplr(np.eye(9, dtype=np.uint8)))


def test_maps_apply_in_the_order_of_their_product(sample: Dataset) -> None:
    images = sample.train_images[:20]
    turn, widen = rotation_maps(np.full(20, 30.0)), scaling_maps(np.full(20, 0.8), np.full(20, 1.3))
    at_once = warp(images, turn @ widen, STAY).astype(float)
    one_by_one = warp(warp(images, turn, STAY), widen, STAY).astype(float)
    the_other = warp(warp(images, widen, STAY), turn, STAY).astype(float)
    assert np.abs(at_once - one_by_one).mean() < 0.4 * np.abs(at_once - the_other).mean()


def test_more_images_than_are_done_at_once_each_have_their_own_map() -> None:
    n = 3 * Resampler((28, 28), 1000).at_once + 1
    images, rng = pictures(n, 28, 28), np.random.default_rng(1)
    matrices, offsets = rotation_maps(rng.uniform(-40, 40, n)), rng.normal(0, 2, (n, 2))
    out = np.empty_like(images)
    assert warp(images, matrices, offsets, out=out) is out
    for i in (0, 1, n // 2, n - 1):
        alone = warp(images[i : i + 1], matrices[i], offsets[i])
        assert out[i].tobytes() == alone.tobytes()
    assert warp(images[:0], matrices[:0], offsets[:0]).shape == (0, 28, 28)


def test_it_leaves_its_input_alone() -> None:
    images = pictures(4, 28, 28)
    before = images.copy()
    out = warp(images, rotation_maps(np.array([10.0]))[0], np.ones(2))
    assert images.tobytes() == before.tobytes()
    assert not np.shares_memory(out, images)


@pytest.mark.parametrize("maps", [rotation_maps, shear_maps, lambda x: scaling_maps(1 + x, 1 + x)])
def test_no_amount_is_the_identity(maps: Callable[[np.ndarray], np.ndarray]) -> None:
    np.testing.assert_array_equal(maps(np.zeros(2)), np.broadcast_to(np.eye(2), (2, 2, 2)))
