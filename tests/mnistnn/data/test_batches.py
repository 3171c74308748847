from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.data import Batches, Dataset, Split
from mnistnn.errors import SpecError


def numbered(total: int) -> Split:
    """A split of every second of `total` images; each image holds its own number."""
    numbers = np.arange(total)
    images = np.zeros((total, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 27, 27] = numbers % 256, numbers // 256
    return Split(images, (numbers % 10).astype(np.uint8), np.arange(0, total, 2, dtype=np.int64))


@given(st.integers(1, 600), st.integers(1, 300), st.integers(0, 9))
def test_an_epoch_is_a_permutation(total: int, batch_size: int, seed: int) -> None:
    split = numbered(total)
    batches = Batches(split, batch_size)
    sizes, seen = [], []
    for images, labels in batches.epoch(np.random.default_rng(seed)):
        assert images.shape == (len(labels), 28, 28)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        numbers = images[:, 0, 0] + 256 * images[:, 27, 27].astype(int)
        np.testing.assert_array_equal(labels, numbers % 10)
        sizes.append(len(labels))
        seen += numbers.tolist()
    assert sorted(seen) == split.indices.tolist()
    assert len(sizes) == len(batches)
    assert set(sizes[:-1]) <= {batch_size}
    assert 1 <= sizes[-1] <= batch_size


def order(batches: Batches, rng: np.random.Generator) -> list[int]:
    return [int(number) for images, _ in batches.epoch(rng) for number in images[:, 0, 0]]


def test_the_order_depends_on_the_generator_alone() -> None:
    batches, rng = Batches(numbered(200), 7), np.random.default_rng(5)
    first, second = order(batches, rng), order(batches, rng)
    assert first != second
    # As a resumed training has it: another object, the generator's state after the first epoch.
    again = np.random.default_rng(5)
    assert order(Batches(numbered(200), 7), again) == first
    assert order(Batches(numbered(200), 7), again) == second


def test_buffers_are_its_own_and_used_again(sample: Dataset) -> None:
    train, _ = sample.split(0)
    batches, rng = Batches(train, 64), np.random.default_rng(0)
    addresses = {(x.ctypes.data, y.ctypes.data) for _ in range(2) for x, y in batches.epoch(rng)}
    assert len(addresses) == 1


def test_a_batch_allocates_next_to_nothing(sample: Dataset) -> None:
    epoch = Batches(sample.split(0)[0], 100).epoch(np.random.default_rng(0))
    next(epoch)
    tracemalloc.start()
    for _ in epoch:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000


@pytest.mark.parametrize("batch_size", [0, -5])
def test_batch_size_must_be_positive(batch_size: int) -> None:
    with pytest.raises(SpecError, match=f"batch_size={batch_size}"):
        Batches(numbered(10), batch_size)
