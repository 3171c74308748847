"""What every augmentation keeps to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mnistnn.augment import AugmentationSpec, build_augmenters
from mnistnn.domains import Choice, domains_of
from mnistnn.registry import augmentation
from mnistnn.types import UInt8s

NAMES = augmentation.names()


def make(name: str) -> AugmentationSpec:
    spec = augmentation.get(name)()
    assert isinstance(spec, AugmentationSpec)
    return spec


def pictures(n: int = 100) -> UInt8s:
    return np.random.default_rng(1).integers(0, 256, (n, 28, 28), np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_images_again_and_leaves_its_input_alone(name: str) -> None:
    augmenter, images = make(name).build((28, 28), 100), pictures()
    before = images.copy()
    out = augmenter(images, np.random.default_rng(0))
    assert out.dtype == np.uint8
    assert out.shape == images.shape
    assert out.flags.c_contiguous
    assert images.tobytes() == before.tobytes()
    assert not np.shares_memory(out, images)
    assert not np.array_equal(out, images)


@pytest.mark.parametrize("name", NAMES)
def test_at_the_ends_of_its_ranges_it_changes_images_unless_it_says_that_it_is_idle(name: str) -> None:
    spec_class, images = augmentation.get(name), pictures()
    domains = domains_of(spec_class)
    ends = [domain.values if isinstance(domain, Choice) else (domain.low, domain.high) for domain in domains.values()]
    idle = []
    for values in itertools.product(*ends):
        spec: Any = spec_class(**dict(zip(domains, values, strict=True)))
        out = spec.build((28, 28), 100)(images, np.random.default_rng(0))
        assert np.array_equal(out, images) is spec.is_idle
        assert build_augmenters([spec]) == [] if spec.is_idle else len(build_augmenters([spec])) == 1
        idle.append(spec.is_idle)
    assert not all(idle)


@pytest.mark.parametrize("name", NAMES)
def test_images_need_not_be_square(name: str) -> None:
    images = np.random.default_rng(1).integers(0, 256, (9, 12, 7), np.uint8)
    out = make(name).build((12, 7), 9)(images, np.random.default_rng(0))
    assert out.shape == images.shape
    assert not np.array_equal(out, images)


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_decides(name: str) -> None:
    images = pictures()
    first, second = make(name).build((28, 28), 100), make(name).build((28, 28), 100)
    rng = np.random.default_rng(0)
    one = first(images, rng).copy()
    assert one.tobytes() == second(images, np.random.default_rng(0)).tobytes()
    assert one.tobytes() != first(images, rng).tobytes()  # drawn afresh for the next epoch


@pytest.mark.parametrize("name", NAMES)
def test_a_short_batch_works_and_old_rows_do_not_show(name: str) -> None:
    augmenter, images = make(name).build((28, 28), 100), pictures()
    augmenter(images, np.random.default_rng(5))
    short = augmenter(images[:7], np.random.default_rng(0)).copy()
    alone = make(name).build((28, 28), 7)(images[:7], np.random.default_rng(0))
    assert short.shape == (7, 28, 28)
    assert short.tobytes() == alone.tobytes()
    assert augmenter(images[:0], np.random.default_rng(0)).shape == (0, 28, 28)


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_call_takes_next_to_no_memory(name: str, warm_peak: Callable[[Callable[[], object]], int]) -> None:
    augmenter, images, rng = make(name).build((28, 28), 100), pictures(), np.random.default_rng(0)
    assert warm_peak(lambda: augmenter(images, rng)) < 16 * 1024
