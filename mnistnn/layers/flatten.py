"""Flatten: a map as one row of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Flatten", "FlattenSpec"]


@layer("flatten")
@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenSpec(LayerSpec):
    """Put a map's numbers in one row: rows, then columns, then channels."""

    def build(self, in_shape: Shape, context: BuildContext) -> Flatten:
        """Builds the layer for inputs of any shape."""
        return Flatten(in_shape, (math.prod(in_shape),))


class Flatten(Layer):
    """See `FlattenSpec`. Both ways are views."""

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, …) → (B, features)."""
        return x.reshape(len(x), *self.out_shape)

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, features) → (B, …)."""
        return dy.reshape(len(dy), *self.in_shape)
