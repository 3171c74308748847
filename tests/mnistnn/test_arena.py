from __future__ import annotations

import numpy as np
import pytest

from mnistnn.arena import Arena
from mnistnn.errors import SpecError


@pytest.fixture
def arena() -> Arena:
    arena = Arena(np.float32)
    arena.param("a/bias", (3,), decay=False)
    arena.param("a/weight", (2, 3), decay=True)
    arena.state("a/mean", (3,), 0.5)
    arena.param("b/weight", (3, 1), decay=True)
    arena.allocate()
    return arena


def test_weights_that_decay_lie_first(arena: Arena) -> None:
    assert arena.n_decay == 9
    assert arena.params.shape == arena.grads.shape == (12,)
    named = arena.named()
    assert list(named) == ["a/weight", "b/weight", "a/bias", "a/mean"]
    arena.params[...] = np.arange(12)
    assert named["a/weight"].value.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert named["b/weight"].value.tolist() == [[6], [7], [8]]
    assert named["a/bias"].value.tolist() == [9, 10, 11]


def test_values_and_grads_are_views(arena: Arena) -> None:
    named = arena.named()
    named["a/bias"].value[...], named["a/bias"].grad[...] = 7, 8
    assert arena.params[9:].tolist() == [7, 7, 7]
    assert arena.grads[9:].tolist() == [8, 8, 8]
    assert {vector.dtype for vector in (arena.params, arena.grads, arena.states)} == {np.dtype(np.float32)}


def test_states_begin_as_they_say(arena: Arena) -> None:
    assert arena.states.tolist() == [0.5] * 3


def test_scratch_is_kept_and_counted(arena: Arena) -> None:
    before = arena.nbytes
    first = arena.scratch(12)
    assert np.shares_memory(arena.scratch(5), first)
    assert arena.scratch(5).shape == (5,)
    assert arena.nbytes == before + 12 * 4
    assert arena.scratch(20).dtype == np.float32
    assert arena.nbytes == before + 20 * 4


def test_a_name_is_given_once(arena: Arena) -> None:
    with pytest.raises(SpecError, match="'a/bias' is taken"):
        arena.state("a/bias", (1,), 0.0)
