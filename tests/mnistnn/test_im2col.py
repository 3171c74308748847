from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.arena import Arena
from mnistnn.im2col import Patches, chunks
from mnistnn.layer import BuildContext


@given(
    st.integers(3, 9), st.integers(3, 9), st.sampled_from([1, 2, 7, 16]), st.sampled_from([1, 3, 5]), st.integers(0, 4)
)
def test_each_row_is_a_patch(height: int, width: int, channels: int, kernel: int, padding: int) -> None:
    if min(height, width) + 2 * padding < kernel:
        return
    patches = Patches(BuildContext(Arena(np.float64), 3), (height, width, channels), kernel, padding)
    for n in (3, 2):
        images = np.random.default_rng(n).standard_normal((n, height, width, channels))
        padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        expected = [
            padded[b, i : i + kernel, j : j + kernel].reshape(-1)
            for b in range(n)
            for i in range(patches.rows)
            for j in range(patches.columns)
        ]
        np.testing.assert_array_equal(patches.of(images), expected)


@pytest.mark.parametrize("max_batch", [1, 7, 500])
def test_a_chunk_fits_the_cache_and_the_batch(max_batch: int) -> None:
    patches = Patches(BuildContext(Arena(np.float32), max_batch), (28, 28, 32), 3, 1)
    assert 1 <= patches.chunk <= max_batch
    assert patches.chunk == 1 or patches.chunk * 28 * 28 * 9 * 32 * 4 <= 1 << 20


def test_chunks_cover_all_once() -> None:
    assert [list(range(10))[piece] for piece in chunks(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert chunks(0, 4) == []
