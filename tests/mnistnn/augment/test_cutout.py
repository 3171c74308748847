from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.augment.cutout import Cutout


@given(st.integers(1, 14), st.integers(4, 15), st.integers(4, 15), st.integers(1, 6), st.integers(0, 2**32))
def test_what_is_hidden_is_a_square_or_what_the_edge_leaves_of_one(
    size: int, height: int, width: int, n: int, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(1, 256, (n, height, width), np.uint8)
    out = Cutout(size=size).build((height, width), 6)(images, np.random.default_rng(seed))
    for image, result in zip(images, out, strict=True):
        hidden = result == 0
        assert np.array_equal(result[~hidden], image[~hidden])
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        if not len(rows):
            continue
        top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
        assert hidden[top : bottom + 1, left : right + 1].all()
        across = max(bottom - top, right - left) + 1
        assert across <= size
        assert bottom - top + 1 == across or top == 0 or bottom == height - 1
        assert right - left + 1 == across or left == 0 or right == width - 1


def test_every_side_and_every_place_is_equally_likely() -> None:
    n = 20_000
    out = Cutout(size=4).build((28, 28), n)(np.ones((n, 28, 28), np.uint8), np.random.default_rng(0))
    hidden = out == 0
    inside = hidden[:, 4:24, 4:24].any(axis=(1, 2)) & ~hidden[:, [0, -1]].any(axis=(1, 2))
    inside &= ~hidden[:, :, [0, -1]].any(axis=(1, 2))
    areas = np.bincount(hidden[inside].sum(axis=(1, 2)), minlength=17)
    assert set(np.flatnonzero(areas)) == {1, 4, 9, 16}
    assert areas[[1, 4, 9, 16]].max() < 1.15 * areas[[1, 4, 9, 16]].min() + 400  # larger ones reach the edge more often
    # A square about a uniform pixel hides each inner pixel with the mean area's part of all: 6 of 784.
    share = hidden[:, 4:24, 4:24].mean(axis=0)
    assert abs(share.mean() - 6 / 784) < 0.0004
    assert share.min() > 0.5 * 6 / 784
    assert share.max() < 1.5 * 6 / 784
