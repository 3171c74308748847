from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.data import Dataset
from mnistnn.data.folds import deal
from mnistnn.errors import DataError


@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.integers(1, 12), st.integers(0, 5))
def test_parts_are_even_in_all_and_in_each_class(labels: list[int], count: int, seed: int) -> None:
    digits = np.array(labels, np.uint8)
    dealt = deal(digits, count, np.random.default_rng(seed))
    assert dealt.shape == digits.shape
    assert np.ptp(np.bincount(dealt, minlength=count)) <= 1
    for label in set(labels):
        assert np.ptp(np.bincount(dealt[digits == label], minlength=count)) <= 1


def test_each_image_is_left_out_once(sample: Dataset) -> None:
    left_out = []
    for number in range(1, 11):
        train, other = sample.fold(number, 10, seed=3)
        assert (len(train), len(other)) == (1_620, 180)
        assert train.indices.dtype == other.indices.dtype == np.int64
        np.testing.assert_array_equal(np.sort(np.r_[train.indices, other.indices]), np.arange(1_800))
        assert (np.diff(train.indices) > 0).all()
        assert (np.diff(other.indices) > 0).all()
        left_out.append(other.indices)
    np.testing.assert_array_equal(np.sort(np.concatenate(left_out)), np.arange(1_800))


def test_folds_follow_their_seed_and_have_nothing_to_do_with_the_split(sample: Dataset) -> None:
    first, again, other = (sample.fold(1, 6, seed)[1].indices for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    shared = np.intersect1d(first, sample.split(1)[1].indices)
    assert 20 < len(shared) < 80  # about a sixth of 300


@pytest.mark.parametrize(("number", "count"), [(0, 10), (11, 10), (1, 1), (1, 1_801)])
def test_what_is_no_fold_is_refused(sample: Dataset, number: int, count: int) -> None:
    with pytest.raises(DataError, match=rf"number={number}, count={count}"):
        sample.fold(number, count, seed=0)
