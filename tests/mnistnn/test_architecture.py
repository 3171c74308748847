from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistnn.architecture import Block, ConvNet
from mnistnn.errors import SpecError
from mnistnn.layers.add import AddSpec
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.network import Network, NetworkSpec
from mnistnn.registry import layer
from mnistnn.spec import Spec


def kinds(spec: NetworkSpec) -> list[str]:
    return [layer.name_of(part) for part in spec.layers]


def test_no_blocks_give_a_perceptron() -> None:
    assert kinds(ConvNet(dense_units=32).network()) == ["input", "dense", "relu", "dense"]
    assert kinds(ConvNet().network()) == ["input", "dense"]


def test_all_of_it_in_order() -> None:
    net = ConvNet(
        blocks=(Block(convs=2), Block(pool=False)),
        norm=BatchNormSpec(),
        activation=SigmoidSpec(),
        block_dropout=0.1,
        dropout=0.2,
        dense_units=8,
        dense_dropout=0.3,
    )
    conv = ["conv2d", "batch_norm", "sigmoid"]
    head = ["flatten", "dropout", "dense", "batch_norm", "sigmoid", "dropout", "dense"]
    assert kinds(net.network()) == ["input", *conv, *conv, "max_pool2d", "dropout", *conv, "dropout", *head]


def test_a_strided_block_has_no_pool_and_strides_last() -> None:
    net = ConvNet(blocks=(Block(convs=2, stride=2), Block()), dense_units=8).network()
    pair = ["conv2d", "relu"]
    assert kinds(net) == ["input", *pair, *pair, *pair, "max_pool2d", "flatten", "dense", "relu", "dense"]
    assert [part.stride for part in net.layers if hasattr(part, "stride")] == [1, 2, 1]
    assert Network(net).layers["flatten_1"].in_shape == (7, 7, 32)


def test_a_residual_block_adds_what_its_first_convolution_gave() -> None:
    net = ConvNet(blocks=(Block(convs=3, residual=True),), norm=BatchNormSpec()).network()
    conv = ["conv2d", "batch_norm", "relu"]
    ends = ["conv2d", "batch_norm", "add", "relu", "max_pool2d", "flatten", "dense"]
    assert kinds(net) == ["input", *conv, "fork", *conv, *ends]
    without = ConvNet(blocks=(Block(convs=2, stride=2, residual=True),)).network()
    assert kinds(without) == ["input", "conv2d", "relu", "fork", "conv2d", "add", "relu", "flatten", "dense"]
    assert AddSpec(stride=2) in without.layers


def test_a_block_of_one_convolution_has_nothing_to_go_round() -> None:
    nets = [ConvNet(blocks=(Block(residual=residual),)).network() for residual in (False, True)]
    assert nets[0] == nets[1]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_residual_net_has_the_params_of_the_plain_one_and_begins_with_them(padding: str) -> None:
    plain, residual = (
        Network(
            ConvNet(
                blocks=(Block(convs=2, filters=4, residual=residual), Block(convs=3, filters=6, residual=residual)),
                padding=padding,
                norm=BatchNormSpec(),
            ).network(),
            by_name=True,
        )
        for residual in (False, True)
    )
    assert [*plain.arena.named()] == [*residual.arena.named()]
    assert plain.arena.params.tobytes() == residual.arena.params.tobytes()
    assert plain.macs == residual.macs


def test_what_came_later_is_written_only_where_it_is_said() -> None:
    blocks: list[Spec] = [Block(), Block(residual=True)]
    assert ["residual" in block.written() for block in blocks] == [False, True]


def test_a_global_pool_takes_the_place_of_flatten() -> None:
    net = ConvNet(blocks=(Block(filters=6),), global_pool=True, dropout=0.1).network()
    assert kinds(net) == ["input", "conv2d", "relu", "max_pool2d", "global_avg_pool2d", "dropout", "dense"]
    assert Network(net).layers["dense_1"].in_shape == (6,)
    assert kinds(ConvNet(global_pool=True).network()) == ["input", "dense"]  # without maps there is none


def test_weights_begin_by_what_follows_them() -> None:
    relu = ConvNet(blocks=(Block(),), dense_units=8, init_scale=0.5).network().layers
    sigmoid = ConvNet(blocks=(Block(),), dense_units=8, activation=SigmoidSpec()).network().layers
    assert [part.init for part in relu if hasattr(part, "init")] == ["he", "he", "lecun"]
    assert [part.init for part in sigmoid if hasattr(part, "init")] == ["lecun"] * 3
    assert {part.init_scale for part in relu if hasattr(part, "init_scale")} == {0.5}


def test_a_bias_before_a_norm_would_be_taken_off_again() -> None:
    layers = ConvNet(blocks=(Block(),), dense_units=8, norm=BatchNormSpec()).network().layers
    assert [part.bias for part in layers if hasattr(part, "bias")] == [False, False, True]


@given(
    st.lists(
        st.builds(
            Block,
            filters=st.integers(1, 4),
            convs=st.integers(1, 2),
            pool=st.booleans(),
            stride=st.sampled_from([1, 1, 2]),
            residual=st.booleans(),
        ),
        max_size=3,
    ),
    st.sampled_from(["same", "valid"]),
    st.integers(0, 5),
)
def test_what_is_possible_builds_and_what_is_not_is_said(blocks: list[Block], padding: str, dense_units: int) -> None:
    spec = ConvNet(blocks=tuple(blocks), padding=padding, dense_units=dense_units).network()
    side = 28
    possible = True
    for block in blocks:
        side -= 2 * block.convs if padding == "valid" else 0
        possible = possible and side >= 1
        if block.stride > 1:
            side = (side + 1) // 2
        elif block.pool:
            side //= 2
        possible = possible and side >= 1
    if possible:
        assert Network(spec, batch_size=2).classes == 10
    else:
        with pytest.raises(SpecError):
            Network(spec, batch_size=2)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Block(kernel=4), "kernel"),
        (lambda: Block(filters=0), "filters"),
        (lambda: ConvNet(padding="full"), "padding"),
        (lambda: ConvNet(dropout=1.0), "dropout"),
        (lambda: ConvNet(dense_units=-1), "dense_units"),
        (lambda: ConvNet(scaling="log"), "scaling"),
    ],
)
def test_values_outside_their_domain_are_refused(make: Any, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        make()
