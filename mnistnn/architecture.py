"""ConvNet: the family of networks that studies search, from a few numbers to a list of layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from mnistnn.domains import Choice, FloatRange, IntRange
from mnistnn.layer import LayerSpec
from mnistnn.layers.add import AddSpec
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.dropout import DropoutSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.fork import ForkSpec
from mnistnn.layers.global_avg_pool2d import GlobalAvgPool2DSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.network import NetworkSpec
from mnistnn.spec import Spec, later

__all__ = ["Block", "ConvNet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Spec):
    """`convs` times (convolution, norm, activation), then a pool.

    With a `stride` of 2 the last convolution brings the map to half its size, and there is no pool, whatever `pool` is.
    With `residual` what the first convolution's activation gives is added again before the last one's activation; the
    first one itself stays outside, for it changes the number of channels. A block of one convolution has no use for it.
    """

    filters: Annotated[int, IntRange(1, 512)] = 32
    kernel: Annotated[int, Choice(3, 5, 7)] = 3
    convs: Annotated[int, IntRange(1, 3)] = 1
    stride: Annotated[int, Choice(1, 2)] = 1
    pool: Annotated[bool, Choice(True, False)] = True
    residual: Annotated[bool, Choice(True, False)] = later(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNet(Spec):
    """Input, the blocks, and a head: flatten or global pool, dropout, [dense, norm, activation, dropout,] dense 10.

    Attributes:
        blocks: the convolutional part; none at all gives a multi-layer perceptron.
        padding: of every convolution.
        activation: after every hidden layer; any layer of the role "activation".
        norm: before every activation; any layer of the role "norm", or None.
        pooling: what a block's pool is; any layer of the role "pool".
        extra: at the end of every block; any layer of the role "extra", or None.
        block_dropout: after every block.
        dropout: before the head's first dense layer.
        dense_units: of the hidden dense layer; 0 for none.
        dense_dropout: after the hidden dense layer.
        init_scale: multiplies the spread of all first weights.
        scaling: of the pixels; see `InputSpec`.
        global_pool: whether the head begins with each channel's mean in the place of all pixels of the last maps.
    """

    blocks: tuple[Block, ...] = ()
    padding: Annotated[str, Choice("same", "valid")] = "same"
    activation: LayerSpec = ReLUSpec()
    norm: LayerSpec | None = None
    pooling: LayerSpec = MaxPool2DSpec()
    extra: LayerSpec | None = None
    block_dropout: Annotated[float, FloatRange(0.0, 0.9)] = 0.0
    dropout: Annotated[float, FloatRange(0.0, 0.9)] = 0.0
    dense_units: Annotated[int, IntRange(0, 2048)] = 0
    dense_dropout: Annotated[float, FloatRange(0.0, 0.9)] = 0.0
    init_scale: Annotated[float, FloatRange(0.01, 10.0)] = 1.0
    scaling: Annotated[str, Choice("unit", "standard", "none")] = "unit"
    global_pool: Annotated[bool, Choice(True, False)] = False

    def network(self, classes: int = 10) -> NetworkSpec:
        """Returns the list of layers. Whether the sizes allow it is seen when the network is built."""
        shape = (28, 28, 1) if self.blocks else (784,)
        layers: list[LayerSpec] = [InputSpec(shape=shape, scaling=self.scaling)]
        for block in self.blocks:
            layers += self._block(block)
        if self.blocks:
            layers.append(GlobalAvgPool2DSpec() if self.global_pool else FlattenSpec())
        layers += self._dropout(self.dropout)
        if self.dense_units:
            layers.append(DenseSpec(units=self.dense_units, **self._weights()))
            layers += self._after_weights()
            layers += self._dropout(self.dense_dropout)
        layers.append(DenseSpec(units=classes, init="lecun", init_scale=self.init_scale))
        return NetworkSpec(tuple(layers))

    def _block(self, block: Block) -> Iterator[LayerSpec]:
        sizes: dict[str, Any] = {"filters": block.filters, "kernel": block.kernel, "padding": self.padding}
        residual = block.residual and block.convs > 1
        for number in range(1, block.convs + 1):
            last = number == block.convs
            yield Conv2DSpec(**sizes, stride=block.stride if last else 1, **self._weights())
            yield from self._after_weights(*[AddSpec(stride=block.stride)] if residual and last else [])
            if residual and number == 1:
                yield ForkSpec()
        if block.pool and block.stride == 1:
            yield self.pooling
        if self.extra is not None:
            yield self.extra
        yield from self._dropout(self.block_dropout)

    def _weights(self) -> dict[str, Any]:
        """How a hidden layer's weights begin; its bias is left out where a norm would take it off again."""
        init = "he" if isinstance(self.activation, ReLUSpec) else "lecun"
        return {"init": init, "init_scale": self.init_scale, "bias": self.norm is None}

    def _after_weights(self, *added: LayerSpec) -> Iterator[LayerSpec]:
        if self.norm is not None:
            yield self.norm
        yield from added
        yield self.activation

    @staticmethod
    def _dropout(rate: float) -> Iterator[LayerSpec]:
        if rate > 0:
            yield DropoutSpec(rate=rate)
