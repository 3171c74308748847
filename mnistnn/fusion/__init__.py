"""The fast plan over a network's layers: convolution, norm, add, ReLU and max pool as one step, equal to them by test.

A plain layer goes over the whole batch, so every pass over a map comes from main memory. Here a few images at a time
go through product, norm sums and pool while they lie in the core's own cache. The pool comes before the norm's scale
and shift and before the ReLU: they do not change which of four numbers is the largest (a negative scale's sign moves
into the convolution's weights), and three quarters of their work falls away. At inference the norm is folded into the
weights altogether.

The products are where the time goes. `winograd` makes those of 3×3 kernels from two thirds of the multiplications,
`windows` all others; both take many small ones, a matrix for each column of a map, which a BLAS works on without
copying its operands first. All that is not kept from pass to pass is computed in the same memory, layer after layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from mnistnn.fusion.conv import FusedConv
from mnistnn.fusion.conv_norm import FusedConvNorm
from mnistnn.fusion.dense import FusedInputDense, fuse_input
from mnistnn.fusion.input_conv import InputConv
from mnistnn.fusion.input_conv_norm import FusedInputConvNorm
from mnistnn.fusion.memory import BlockContext
from mnistnn.layer import BuildContext, Layer
from mnistnn.layers.add import Add
from mnistnn.layers.batch_norm import BatchNorm
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.layers.relu import ReLU

LayerKind = TypeVar("LayerKind", bound=Layer)

__all__ = ["FusedConv", "FusedConvNorm", "FusedInputConvNorm", "FusedInputDense", "fuse"]


def fuse(layers: Sequence[Layer], context: BuildContext) -> list[Layer]:
    """Returns the layers with each run of convolution, [norm,] ReLU[, 2×2 pool] replaced by one that does its work.

    So is one of convolution, [norm,] add, ReLU; a pool behind that stays as it is, for which number of a square is the
    largest is not known before the sum. A strided convolution stays too: it has a quarter of the products, and no
    pool's work to save.

    Args:
        layers: of a network, in order, built and allocated; the fused layers work on their params.
        context: of the layers; the bytes of the fused ones' buffers are added to its own.
    """
    blocks = BlockContext(context.arena, context.max_batch)
    plan: list[Layer] = []
    rest = list(layers)
    if first := fuse_input(rest, context):
        plan.append(first)
        del rest[:2]
    while rest:
        conv = rest.pop(0)
        norm = _first(rest, BatchNorm)
        add = _first(rest[1:] if norm else rest, Add)
        before_relu = bool(norm) + bool(add)
        if not isinstance(conv, Conv2D) or conv.stride > 1 or not _first(rest[before_relu:], ReLU):
            plan.append(conv)
            continue
        del rest[: before_relu + 1]
        pool = _first(rest, MaxPool2D)
        if pool and pool.size == 2 and not add:
            del rest[0]
        else:
            pool = None
        shortcut = add.shortcut if add else None
        if norm is None:
            plan.append(FusedConv(conv, pool, blocks, shortcut))
        elif InputConv.suits(conv):
            plan.append(FusedInputConvNorm(conv, norm, pool, blocks, shortcut))
        else:
            plan.append(FusedConvNorm(conv, norm, pool, blocks, shortcut))
    context.buffer_bytes += blocks.buffer_bytes
    return plan


def _first(layers: Sequence[Layer], kind: type[LayerKind]) -> LayerKind | None:
    """Returns the first layer if it is of that kind."""
    return layers[0] if layers and isinstance(layers[0], kind) else None
