"""The nets that benchmarks measure."""

from __future__ import annotations

import pytest

from benchmarks.nets import DRAWS, NAMES, ROOT, drawn_cases, named_case, step_flop
from mnistnn.network import Network
from mnistnn.presets import PRESETS, preset
from sweeps.config import load_study
from sweeps.study.space import Space


def test_each_conv_net_is_there_with_a_norm_and_without() -> None:
    assert set(PRESETS) - set(NAMES) == {"deep"}  # `three` is its like, and takes a third of the time
    assert len(NAMES) == 9
    for name in ("report", "small", "conv2", "three"):
        (other,) = [each for each in NAMES if each.startswith(f"{name}-")]
        pair = named_case(name).convnet, named_case(other).convnet
        assert sum(convnet.norm is None for convnet in pair) == 1
        assert (other == f"{name}-norm") == (pair[0].norm is None)
        assert pair[0].blocks == pair[1].blocks


def test_a_preset_is_measured_as_it_is() -> None:
    for name in set(PRESETS) & set(NAMES):
        assert named_case(name).network == preset(name).network
    assert named_case("three").convnet.blocks[-1].filters == 64


def test_draws_are_the_same_each_time_and_within_the_limits() -> None:
    first, second = drawn_cases(), drawn_cases()
    assert first == second
    assert len({repr(case) for case in first}) == DRAWS
    assert named_case("draw-07") == first[6]
    assert drawn_cases(3) == first[:3]
    limits = load_study("default", root=ROOT).limits
    for case in first:
        network = Network(case.network, batch_size=case.batch_size, initialise=False)
        assert network.macs <= limits.macs
        assert limits.params is not None
        assert network.param_count <= limits.params


def test_draws_carry_their_own_training() -> None:
    cases = drawn_cases()
    searched = Space(load_study("default", root=ROOT)).searched
    assert {case.batch_size for case in cases} == set(searched["batch_size"].values)  # type: ignore[union-attr]
    assert {type(case.optimizer).__name__ for case in cases} == {"Adam", "AdamW"}
    assert len({case.optimizer.learning_rate for case in cases}) == DRAWS


def test_a_step_s_products_are_counted_from_the_layers() -> None:
    """By hand: 28·28 places × 25 × 32, then 6,272 × 10; the first layer has no gradient of its input."""
    network = Network(named_case("report").network, batch_size=1, initialise=False)
    conv, dense = 28 * 28 * 25 * 32, 6272 * 10
    assert step_flop(network, 100) == 2 * 100 * (2 * conv + 3 * dense)


def test_an_unknown_net_is_none() -> None:
    for name in ("conv3", "draw-", "draw-00", "draw-x"):
        with pytest.raises(KeyError):
            named_case(name)
