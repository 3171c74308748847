from __future__ import annotations

import numpy as np
import pytest

from mnistnn.data import Dataset, Likeness
from mnistnn.types import UInt8s
from sweeps.robustness import variants
from sweeps.robustness.digits import other_digits
from sweeps.robustness.variants import GROUPS, Group, Variant, generate, moved

ALL = [(group, variant) for group in GROUPS for variant in group.variants]
RANDOM = {"affine", "noise σ 16", "noise σ 32", "noise σ 64", "salt", "occlusion"}


@pytest.fixture(scope="module")
def images(sample: Dataset) -> UInt8s:
    return np.array(sample.train_images[:60])


def made(name: str, images: UInt8s, way: str = "", **more: int) -> UInt8s:
    group = next(group for group in GROUPS if group.name == name)
    return generate(group, next(each for each in group.variants if each.name == way), images, **more)


def named(variant: tuple[Group, Variant]) -> str:
    return f"{variant[0].name} {variant[1].name}".strip()


@pytest.mark.parametrize("variant", ALL, ids=named)
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    images: UInt8s, variant: tuple[Group, Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images.copy()
    first = generate(*variant, images)
    assert (first.shape, first.dtype) == (images.shape, np.uint8)
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(generate(*variant, images), first)
    other = generate(*variant, images, seed=1)
    assert np.array_equal(other, first) == (variant[0].name not in RANDOM)
    monkeypatch.setattr(variants, "_BLOCK", 7)
    np.testing.assert_array_equal(generate(*variant, images[:25]), first[:25])


def test_there_is_all_that_was_asked_for() -> None:
    counts = {group.name: len(group.variants) for group in GROUPS}
    assert GROUPS[0].name == "as they are"
    assert [counts[f"shift {pixels} px"] for pixels in (2, 4, 6)] == [8, 8, 8]
    assert [counts[f"turn {degrees}°"] for degrees in (10, 20, 30)] == [2, 2, 2]
    assert {"scale 0.8", "scale 1.2", "affine", "thick", "thin", "salt", "blur", "occlusion"} <= set(counts)
    assert len({named(variant) for variant in ALL}) == len(ALL) == 43


def test_a_shift_moves_every_pixel_and_loses_what_is_beyond(images: UInt8s) -> None:
    for way, (down, right) in {"up": (-4, 0), "left": (0, -4), "down right": (4, 4), "up right": (-4, 4)}.items():
        found = made("shift 4 px", images, way)
        around = np.pad(images, ((0, 0), (4, 4), (4, 4)))
        np.testing.assert_array_equal(found, around[:, 4 - down : 32 - down, 4 - right : 32 - right])
    full = np.full((1, 28, 28), 9, np.uint8)
    assert [int((moved(full, *each) == 9).sum()) for each in ((6, 6), (-6, 0), (0, 0))] == [22 * 22, 22 * 28, 784]


def test_a_turn_by_a_right_angle_is_exact(images: UInt8s) -> None:
    for degrees, quarters in ((90, 1), (180, 2), (-90, -1)):
        quarter = Group("turn", "", (Variant("", variants._turn(degrees)),))
        np.testing.assert_array_equal(
            generate(quarter, quarter.variants[0], images), np.rot90(images, quarters, axes=(1, 2))
        )


def test_scales_and_turns_are_what_they_say() -> None:
    square = np.zeros((1, 28, 28), np.uint8)
    square[0, 9:19, 9:19] = 200
    for name, side in (("scale 0.8", 8), ("scale 1.2", 12)):
        found = made(name, square)[0].astype(float)
        assert found.sum() / 200 == pytest.approx(side**2, rel=0.02)
        assert found[14].sum() / 200 == pytest.approx(side, rel=0.02)
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 4:24, 13:15] = 255
    for way, sign in (("left", 1), ("right", -1)):
        found = made("turn 30°", bar, way)[0].astype(float)
        y, x = np.mgrid[:28, :28] - 13.5
        angle = 0.5 * np.arctan2(2 * (found * x * y).sum(), (found * (y * y - x * x)).sum())
        assert np.rad2deg(angle) == pytest.approx(sign * 30, abs=0.5)


def test_affine_keeps_all_ink_and_takes_all_places(images: UInt8s) -> None:
    found = made("affine", np.repeat(images, 10, axis=0))
    assert found.sum() == pytest.approx(10 * images.sum(dtype=np.int64), rel=0.1)
    rows, columns = found.any(axis=2), found.any(axis=1)
    for inked in (rows, columns):
        first, last = inked.argmax(axis=1), 27 - inked[:, ::-1].argmax(axis=1)
        assert (first == 0).any()
        assert (last == 27).any()
        assert (last - first).max() >= 22  # enlarged
        assert 0.1 < np.mean(first < 3) < 0.9


@pytest.mark.parametrize(("place", "top", "left"), [(0.0, 0, 0), (0.9999, 28 - 20, 28 - 4), (0.5, 4, 12)])
def test_a_digit_is_put_where_it_was_drawn(place: float, top: int, left: int) -> None:
    large = np.zeros((1, 48, 48), np.uint8)
    large[0, 3:23, 30:34] = 7
    found = variants._placed(large, np.array([place]), np.array([place]))
    expected = np.zeros((1, 28, 28), np.uint8)
    expected[0, top : top + 20, left : left + 4] = 7
    np.testing.assert_array_equal(found, expected)


def test_what_does_not_fit_is_centred_and_cut() -> None:
    large = np.zeros((1, 48, 48), np.uint8)
    large[0, 5:41, 20:24] = np.arange(1, 37)[:, None]  # 36 rows
    found = variants._placed(large, np.array([0.9]), np.array([0.0]))
    assert found[0, :, 0].tolist() == list(range(5, 33))
    assert not variants._placed(np.zeros((1, 48, 48), np.uint8), np.zeros(1), np.zeros(1)).any()


def test_lines_get_two_pixels_wider_and_one_narrower() -> None:
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 2:26, 10:14] = 200
    thick, thin = made("thick", bar)[0], made("thin", bar)[0]
    assert thick[14].astype(int).sum() == 6 * 200
    assert np.flatnonzero(thick[14]).tolist() == list(range(9, 15))
    assert thin[14, 9:15].tolist() == [0, 100, 200, 200, 100, 0]


def test_noise_salt_blur_occlusion_and_ground() -> None:
    grey, black, white = (np.full((50, 28, 28), level, np.uint8) for level in (128, 0, 255))
    for sigma in (16, 32):
        noise = made(f"noise σ {sigma}", grey).astype(float) - 128
        assert noise.std() == pytest.approx(sigma, rel=0.03)
        assert abs(noise.mean()) < 1
    assert made("noise σ 64", black).mean() == pytest.approx(64 / np.sqrt(2 * np.pi), rel=0.03)
    salt = made("salt", black)
    assert set(np.unique(salt)) == {0, 255}
    assert (salt == 255).mean() == pytest.approx(0.05, rel=0.1)
    dot = np.zeros((1, 28, 28), np.uint8)
    dot[0, 14, 14] = 255
    assert made("blur", dot)[0, 13:16, 14].tolist() == [25, 41, 25]  # 255 / 2π · exp(-r² / 2)
    black_square = made("occlusion", white) == 0
    assert (black_square.sum(axis=(1, 2)) == 49).all()
    assert (black_square.any(axis=2).sum(axis=1) == 7).all()
    assert not black_square[:, :4].any()
    assert not black_square[:, :, 24:].any()
    assert [int(made("bright ground", each)[0, 0, 0]) for each in (black, white)] == [128, 255]


def test_other_digits_are_made_as_mnists_were() -> None:
    digits, labels = other_digits()
    assert (digits.shape, labels.shape) == ((1797, 28, 28), (1797,))
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    found = Likeness.of(digits, centre=(14.0, 14.0))
    assert found.means["size"] == pytest.approx(20, abs=0.5)
    assert found.means["centre"] < 0.6
    assert found.means["noise"] < 0.1
    assert 0.15 < found.means["ink"] < 0.35
