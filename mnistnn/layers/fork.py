"""Fork: the beginning of a shortcut, which an add ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnistnn.errors import SpecError
from mnistnn.layer import BuildContext, Layer, LayerSpec, Shortcut
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Fork", "ForkSpec"]


@layer("fork")
@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSpec(LayerSpec):
    """Begin a shortcut: what comes here is also added at the next `add`, round the layers in between.

    Source: He et al. 2016, "Deep residual learning for image recognition".
    """

    def build(self, in_shape: Shape, context: BuildContext) -> Fork:
        """Builds the layer for maps."""
        if len(in_shape) != 3:
            raise SpecError(f"a fork's input must be a map, but got {in_shape}; put it before flatten.")
        shortcut = Shortcut(in_shape)
        context.shortcuts.append(shortcut)
        return Fork(in_shape, shortcut)


class Fork(Layer):
    """See `ForkSpec`. Both ways are the identity, but that the gradient of what was added comes in."""

    def __init__(self, in_shape: Shape, shortcut: Shortcut) -> None:
        super().__init__(in_shape, in_shape)
        self._shortcut = shortcut

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → the same."""
        self._shortcut.x = x
        return x

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H, W, C) → the same, in place."""
        shortcut = self._shortcut
        if shortcut.dy.size:
            part = dy[shortcut.part]
            np.add(part, shortcut.dy[: len(dy)], out=part)
        return dy
