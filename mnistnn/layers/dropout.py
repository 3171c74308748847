"""Dropout: a part of the inputs left out at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np

from mnistnn.domains import FloatRange
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Dropout", "DropoutSpec"]

_BLOCK: Final = 32768
"""The numbers worked on at a time, so that their draws and factors stay in the core's own cache."""


@layer("dropout")
@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutSpec(LayerSpec):
    """Zero each input with probability `rate` while training, and scale the others by 1 / (1 - rate).

    Inference is the identity. Source: Srivastava et al. 2014, in its inverted form.
    """

    rate: Annotated[float, FloatRange(0.0, 0.9)] = 0.2

    def build(self, in_shape: Shape, context: BuildContext) -> Dropout:
        """Builds the layer for inputs of any shape."""
        return Dropout(self.rate, in_shape, context)


class Dropout(Layer):
    """See `DropoutSpec`. Draws from its own generator.

    A byte is drawn for each number, which is left out if the byte is below 256 · rate. Where that is no whole number,
    each block takes the one above or the one below it, by a draw of its own: in the mean the rate is met exactly.
    """

    def __init__(self, rate: float, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, in_shape)
        level, chance_above = divmod(256 * rate, 1)
        self._level, self._above = int(level), int(chance_above * 2**64)
        self._scale = 1 / (1 - rate)
        self.rng = np.random.Generator(np.random.SFC64(context.seed))  # the fastest that NumPy has
        self._raw = self.rng.bit_generator.random_raw
        self._y, self._factors = context.buffer(in_shape), context.buffer(in_shape)
        self._kept = context.scratch((min(_BLOCK, self._y.size),), np.bool_)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, …) → the same."""
        if not train:
            return x
        y, factors = self._y[: len(x)], self._factors[: len(x)]
        self._draw(factors.reshape(-1))
        np.multiply(x, factors, out=y)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, …) → the same, in place."""
        np.multiply(dy, self._factors[: len(dy)], out=dy)
        return dy

    def _draw(self, factors: Floats) -> None:
        """Writes 0 for a number that is left out, and the scale for one that is kept."""
        for start in range(0, factors.size, _BLOCK):
            block = factors[start : start + _BLOCK]
            level = self._level + (self._raw() < self._above)
            draws = self._raw(-(-block.size // 8)).view(np.uint8)  # 64 bits each
            kept = np.greater_equal(draws[: block.size], level, out=self._kept[: block.size])
            np.copyto(block, kept)  # a product with the truth values themselves would cast them by way of a buffer
            np.multiply(block, self._scale, out=block)
