from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mnistnn.augment import AugmentationSpec, arrange, build_augmenters, warp
from mnistnn.augment._warping import AffineSpec, Warper
from mnistnn.augment.cutout import Cutout
from mnistnn.augment.elastic import Elastic
from mnistnn.augment.noise import Noise
from mnistnn.augment.rotation import Rotation
from mnistnn.augment.scaling import Scaling
from mnistnn.augment.shear import Shear
from mnistnn.augment.thickness import Thickness
from mnistnn.augment.translation import Translation
from mnistnn.data import Dataset
from mnistnn.registry import augmentation
from mnistnn.types import UInt8s

ALL = [augmentation.get(name)() for name in augmentation.names()]


def apply(specs: Sequence[AugmentationSpec], images: UInt8s, seed: int = 0) -> UInt8s:
    rng = np.random.default_rng(seed)
    for augmenter in build_augmenters(specs, (28, 28), len(images)):
        images = augmenter(images, rng)
    return images.copy()


def is_near(one: UInt8s, other: UInt8s) -> bool:
    """Whether images are the same but for what single precision rounds otherwise, here and there by one level."""
    difference = np.abs(one.astype(int) - other)
    return bool(difference.max() <= 1 and difference.mean() < 1e-3)


def test_all_that_warps_is_one_augmenter_and_the_rest_has_its_order() -> None:
    groups = arrange(ALL)
    assert [[augmentation.name_of(spec) for spec in group] for group in groups] == [
        ["thickness"],
        ["elastic", "rotation", "scaling", "shear", "translation"],
        ["cutout"],
        ["noise"],
    ]
    assert len(build_augmenters(ALL)) == 4


@pytest.mark.parametrize("specs", [*itertools.permutations([Thickness(), Cutout(), Noise()])])
def test_the_order_given_means_nothing_between_stages(specs: tuple[AugmentationSpec, ...], sample: Dataset) -> None:
    images = sample.train_images[:5]
    assert apply(specs, images).tobytes() == apply([Thickness(), Cutout(), Noise()], images).tobytes()


def test_a_translation_that_alone_warps_moves_whole_pixels(sample: Dataset) -> None:
    images = sample.train_images[:50]
    alone = Translation(shift=3).build((28, 28), 50)(images, np.random.default_rng(0)).copy()
    assert apply([Translation(shift=3)], images).tobytes() == alone.tobytes()
    idle = [Rotation(degrees=0.0), Elastic(amount=0.0), Translation(shift=3), Shear(amount=0.0), Scaling(amount=0.0)]
    assert apply(idle, images).tobytes() == alone.tobytes()
    assert len(build_augmenters([Translation(shift=3), Noise()])) == 2
    twice = [Translation(shift=1), Translation(shift=3)]
    assert arrange(twice) == [(spec,) for spec in twice]


def test_a_translation_is_the_same_move_when_it_is_interpolated(sample: Dataset) -> None:
    images = sample.train_images[:64]
    whole = Translation(shift=4).build((28, 28), 64)(images, np.random.default_rng(3)).copy()
    resampled = Warper([Translation(shift=4)], (28, 28), 64)(images, np.random.default_rng(3))
    assert resampled.tobytes() == whole.tobytes()


def test_affine_ones_come_to_the_product_of_their_maps(sample: Dataset) -> None:
    images = sample.train_images[:60]
    specs: list[AffineSpec] = [Rotation(degrees=20.0), Scaling(amount=0.2), Shear(amount=0.2), Translation(shift=3)]
    out = apply([*specs], images)
    rng = np.random.default_rng(0)
    total = np.tile(np.eye(3), (60, 1, 1))  # the same by another road: homogeneous coordinates
    for spec in specs:
        each = np.tile(np.eye(3), (60, 1, 1))
        each[:, :2, :2], each[:, :2, 2] = spec.draw(60, rng)
        total = total @ each
    assert is_near(out, warp(images, total[:, :2, :2], total[:, :2, 2]))


def test_a_bend_and_affine_maps_add_up_in_the_old_images_pixels(sample: Dataset) -> None:
    """A field of one wide bump alone is an offset, and no more."""

    class Even(Elastic):
        def basis(self, side: int) -> np.ndarray:
            return np.ones((side, 1))

        def draw(self, coefs: np.ndarray, rng: np.random.Generator) -> None:
            coefs[0], coefs[1] = 2.0, -1.0

    images = sample.train_images[:30]
    out = Warper([Even(), Rotation(degrees=30.0)], (28, 28), 30)(images, np.random.default_rng(0)).copy()
    matrices, _ = Rotation(degrees=30.0).draw(30, np.random.default_rng(0))
    assert is_near(out, warp(images, matrices, np.array([2.0, -1.0])))


def test_two_bends_have_each_their_own_functions(sample: Dataset) -> None:
    images = sample.train_images[:30]
    fine, broad = Elastic(sigma=3.0), Elastic(sigma=8.0)
    one, other = apply([fine, broad], images), apply([broad, fine], images)
    assert not np.array_equal(one, other)  # by the draws
    assert apply([fine, Elastic(amount=0.0)], images).tobytes() == apply([fine], images).tobytes()


def test_nothing_to_do_builds_nothing() -> None:
    assert build_augmenters([]) == []
    idle = [Cutout(size=0), Noise(sigma=0.0), Thickness(amount=0.0), Translation(shift=0), Rotation(degrees=0.0)]
    assert build_augmenters(idle) == []


def test_all_together_take_no_memory_and_are_drawn_alike(warm_peak: Callable[..., int], sample: Dataset) -> None:
    images, rng = sample.train_images[:100], np.random.default_rng(0)
    row = build_augmenters(ALL, (28, 28), 100)

    def through(images: UInt8s, rng: np.random.Generator) -> UInt8s:
        for augmenter in row:
            images = augmenter(images, rng)
        return images

    assert warm_peak(lambda: through(images, rng)) < 24 * 1024  # of it a few maps of 100 images, of 3 kB each
    short = through(images[:7], np.random.default_rng(1)).copy()
    assert short.tobytes() == apply(ALL, images[:7], 1).tobytes()
