"""Add: the end of a shortcut, which a fork began."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.domains import IntRange
from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer, LayerSpec, Shortcut
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Add", "AddSpec"]


@layer("add")
@dataclass(frozen=True, slots=True, kw_only=True)
class AddSpec(LayerSpec):
    """Add what came to the last `fork` that no other add has ended: a residual connection.

    Of a larger map it is the middle, each `stride`-th row and column: what the windows in between were centred on (with
    a stride above 2 they need not be). It has no params, so both need as many channels. Source: He et al. 2016, "Deep
    residual learning for image recognition"; there too the activation comes after it.
    """

    stride: Annotated[int, IntRange(1, 2)] = 1

    def build(self, in_shape: Shape, context: BuildContext) -> Add:
        """Builds the layer for maps of as many channels as came to the fork."""
        if not context.shortcuts:
            raise SpecError("an add must have a fork of its own before it, but got none; put one where its way begins.")
        shortcut = context.shortcuts[-1]
        if len(in_shape) != 3 or in_shape[2] != shortcut.shape[2]:
            raise SpecError(
                f"an add must be of two maps of as many channels, but got {in_shape} and a fork's {shortcut.shape}; "
                "put the fork behind the convolution that changes their number."
            )
        reach = [(size - 1) * self.stride + 1 for size in in_shape[:2]]
        spare = [size - needed for size, needed in zip(shortcut.shape[:2], reach, strict=True)]
        if min(spare) < 0:
            raise SpecError(
                f"a forked map must reach as far as what it is added to, but got {shortcut.shape} for {in_shape} with "
                f"stride={self.stride}; give the add the stride of the convolutions in between."
            )
        context.shortcuts.pop()
        middle = (slice(gap // 2, gap // 2 + needed, self.stride) for gap, needed in zip(spare, reach, strict=True))
        shortcut.part = (slice(None), *middle)
        return Add(in_shape, context, shortcut)


class Add(Layer):
    """See `AddSpec`."""

    def __init__(self, in_shape: Shape, context: BuildContext, shortcut: Shortcut) -> None:
        super().__init__(in_shape, in_shape)
        self.shortcut = shortcut
        shortcut.dy = context.buffer(in_shape)
        self._y = context.buffer(in_shape)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → the same."""
        y = self._y[: len(x)]
        np.add(x, self.shortcut.added(), out=y)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H, W, C) → the same."""
        self.shortcut.keep(dy)
        return dy
