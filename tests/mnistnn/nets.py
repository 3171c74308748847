"""Small nets for tests."""

from __future__ import annotations

from mnistnn.architecture import Block, ConvNet
from mnistnn.layers.add import AddSpec
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.dropout import DropoutSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.fork import ForkSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.network import NetworkSpec

TINY = NetworkSpec(
    (InputSpec(shape=(784,)), DenseSpec(units=16), ReLUSpec(), DropoutSpec(rate=0.2), DenseSpec(units=10))
)
"""A net that learns a little in no time, with a layer that draws."""

EVERYTHING = NetworkSpec(
    (
        InputSpec(scaling="standard"),
        Conv2DSpec(filters=3, kernel=5, padding="valid"),
        ReLUSpec(),
        MaxPool2DSpec(size=2),
        Conv2DSpec(filters=4, kernel=3, bias=False),
        BatchNormSpec(),
        ReLUSpec(),
        ForkSpec(),
        Conv2DSpec(filters=4, kernel=3, padding="valid", bias=False),
        BatchNormSpec(),
        AddSpec(),
        ReLUSpec(),
        MaxPool2DSpec(size=3),
        Conv2DSpec(filters=2, kernel=3),
        SigmoidSpec(),
        DropoutSpec(rate=0.3),
        FlattenSpec(),
        DenseSpec(units=7),
        BatchNormSpec(),
        ReLUSpec(),
        DropoutSpec(rate=0.2),
        DenseSpec(units=10, init="lecun"),
    )
)
"""A net with each of the layers, some of them twice."""

RESIDUAL = ConvNet(
    blocks=(
        Block(filters=8, residual=True),
        Block(filters=16, convs=2, residual=True),
        Block(filters=16, convs=3, stride=2, residual=True),
    ),
    norm=BatchNormSpec(),
    block_dropout=0.1,
    dense_units=16,
).network()
"""A net with all kinds of residual blocks, the first of one convolution, for which that means nothing."""
