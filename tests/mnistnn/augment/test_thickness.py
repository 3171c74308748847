from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from mnistnn.augment.thickness import Thickness
from mnistnn.data import Dataset
from mnistnn.types import UInt8s

CROSS = ndimage.generate_binary_structure(2, 1)


def drawn(image: UInt8s, amount: float) -> np.ndarray:
    """The same by another road: SciPy's morphology, in floats."""
    extreme = ndimage.grey_dilation if amount > 0 else ndimage.grey_erosion
    whole = extreme(image, footprint=CROSS, mode="constant", cval=0).astype(float)
    return image + abs(amount) * (whole - image)


@given(st.integers(3, 15), st.integers(3, 15), st.integers(1, 5), st.floats(0.1, 1.0), st.integers(0, 2**32))
def test_strokes_grow_and_shrink_as_by_scipy(height: int, width: int, n: int, amount: float, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (n, height, width), np.uint8)
    augmenter = Thickness(amount=amount).build((height, width), 6)
    augmenter(np.full((6, height, width), 255, np.uint8), np.random.default_rng(1))  # whose rows must not show
    out = augmenter(images, np.random.default_rng(seed))
    amounts = np.random.default_rng(seed).uniform(-amount, amount, n)
    for image, each, result in zip(images, amounts, out, strict=True):
        # Half a level for the rounding, half of a 256th of the way for the amount's.
        assert np.abs(result - drawn(image, each)).max() <= 1.0


def test_ink_is_drawn_evenly_around_what_there_was(sample: Dataset) -> None:
    images = np.repeat(sample.train_images[:1], 1000, axis=0)
    out = Thickness(amount=1.0).build((28, 28), 1000)(images, np.random.default_rng(0))
    ink, before = out.sum(axis=(1, 2), dtype=np.int64), int(images[0].sum())
    assert 430 < np.count_nonzero(ink > before) < 570
    thinnest, thickest = drawn(images[0], -1.0).sum(), drawn(images[0], 1.0).sum()
    assert thinnest <= ink.min() < 0.5 * (thinnest + before)
    assert 0.5 * (thickest + before) < ink.max() <= thickest
