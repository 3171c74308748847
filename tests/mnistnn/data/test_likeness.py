from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mnistnn.data import Dataset, Likeness, unlike
from mnistnn.data.likeness import FIGURES
from mnistnn.types import UInt8s


@pytest.fixture(scope="module")
def halves(sample: Dataset) -> tuple[UInt8s, UInt8s]:
    images = np.asarray(sample.train_images)
    return images[::2], images[1::2]


def shifted(images: UInt8s) -> UInt8s:
    out = np.zeros_like(images)
    out[:, 4:] = images[:, :-4]
    return out


def tiny(images: UInt8s) -> UInt8s:
    small = [np.asarray(Image.fromarray(image).resize((14, 14), Image.Resampling.BOX)) for image in images]
    return np.pad(np.stack(small), ((0, 0), (7, 7), (7, 7)))


def noisy(images: UInt8s) -> UInt8s:
    noise = np.random.default_rng(0).normal(0, 32, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def salted(images: UInt8s) -> UInt8s:
    return np.where(np.random.default_rng(0).random(images.shape) < 0.05, np.uint8(255), images)


def thick(images: UInt8s) -> UInt8s:
    """Lines a pixel wider, of digits as long as before."""
    wider = np.maximum(images, np.roll(images, 1, axis=2))
    wider = np.maximum(wider, np.roll(wider, 1, axis=1))
    return np.stack([np.asarray(Image.fromarray(image).resize((28, 28), box=(0.5, 0.5, 28, 28))) for image in wider])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda images: 255 - images, "light"),
        (shifted, "centre"),
        (tiny, "size"),
        (noisy, "noise"),
        (salted, "noise"),
        (lambda images: images // 2, "contrast"),
        (lambda images: np.maximum(images, 60), "ground"),
        (thick, "ink"),
        (np.zeros_like, "blank"),
        (lambda images: np.where(np.arange(len(images))[:, None, None] % 4, images, np.uint8(0)), "blank"),
        (lambda images: images.transpose(0, 2, 1), "height"),
        (lambda images: np.rot90(images, axes=(1, 2)), "height"),
    ],
)
def test_each_fault_is_one_finding(
    halves: tuple[UInt8s, UInt8s], change: Callable[[UInt8s], UInt8s], name: str
) -> None:
    found = unlike(change(halves[1]), Likeness.of(halves[0]))
    assert [each.name for each in found] == [name]


def test_two_faults_are_two(halves: tuple[UInt8s, UInt8s]) -> None:
    found = unlike(255 - noisy(shifted(halves[1])), Likeness.of(halves[0]))
    assert [each.name for each in found] == ["light", "noise", "centre"]


def test_what_is_found_is_what_was_done(halves: tuple[UInt8s, UInt8s]) -> None:
    training = Likeness.of(halves[0])
    (found,) = unlike(np.maximum(halves[1], 60), training)
    assert (found.found, found.usual) == (60, 0)
    (found,) = unlike(np.concatenate([halves[1], 255 - halves[1][:300]]), training)
    assert found.found == pytest.approx(300 / 1200)
    (found,) = unlike(shifted(halves[1]), training)
    assert found.found == pytest.approx(4, abs=0.4)
    assert found.usual < 0.6


def test_of_mnists_own_halves_there_is_none(halves: tuple[UInt8s, UInt8s]) -> None:
    for first, second in (halves, halves[::-1]):
        assert unlike(second, Likeness.of(first)) == []


@pytest.mark.parametrize(("count", "draws", "most"), [(1, 450, 0.01), (10, 150, 0.0), (100, 20, 0.0)])
def test_false_alarms_are_rare(halves: tuple[UInt8s, UInt8s], count: int, draws: int, most: float) -> None:
    """Any part of one half, held against the other. For MNIST itself see benchmarks/input_alarms.py."""
    training, rng = Likeness.of(halves[0]), np.random.default_rng(3)
    alarms = sum(bool(unlike(halves[1][rng.choice(900, count, replace=False)], training)) for _ in range(draws))
    assert alarms <= most * draws


def test_figures_of_a_known_image() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 10:20, 12:16] = 200  # a bar of 10×4 pixels, around (14.5, 13.5)
    found = Likeness.of(image)
    assert found.centre == pytest.approx((14.5, 13.5))
    assert found.means == {
        "blank": 0,
        "light": 0,
        "ground": 0,
        "noise": 0,
        "contrast": 200,
        "size": 10,
        "height": 6,
        "centre": 0,
        "ink": pytest.approx(0.4, abs=0.05),
    }
    assert set(found.deviations.values()) == {0.0}
    moved = Likeness.of(np.roll(image, (3, -4), (1, 2)), centre=found.centre)
    assert moved.means["centre"] == pytest.approx(5, abs=1e-5)


def test_blank_images_have_no_digits_to_speak_of(halves: tuple[UInt8s, UInt8s]) -> None:
    found = Likeness.of(np.zeros((3, 28, 28), np.uint8))
    assert all(math.isnan(found.means[name]) for name in ("contrast", "size", "height", "centre", "ink"))
    assert found.means["blank"] == 1
    some = np.concatenate([halves[1], np.zeros((5, 28, 28), np.uint8)])
    assert Likeness.of(some).means["size"] == Likeness.of(halves[1]).means["size"]
    assert unlike(np.empty((0, 28, 28), np.uint8), Likeness.of(halves[0])) == []


def test_it_survives_json(halves: tuple[UInt8s, UInt8s]) -> None:
    found = Likeness.of(halves[0])
    assert Likeness.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises((KeyError, TypeError, ValueError)):
        Likeness.from_dict({"centre": [1], "means": {}, "deviations": {}, "count": 3})


def test_blocks_change_nothing(halves: tuple[UInt8s, UInt8s], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Likeness.of(halves[0])
    monkeypatch.setattr("mnistnn.data.likeness._BLOCK", 77)
    assert Likeness.of(halves[0]) == whole
    assert set(whole.means) == set(FIGURES)


@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(28), st.just(28))))
def test_anything_can_be_looked_at(images: UInt8s) -> None:
    before = images.copy()
    training = Likeness.of(np.zeros((2, 28, 28), np.uint8))
    unlike(images, training)
    np.testing.assert_array_equal(images, before)
