"""Dense: every output from every input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np

from mnistnn.domains import Choice, FloatRange, IntRange
from mnistnn.errors import SpecError
from mnistnn.initialise import INITIALISERS, draw_weights
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["Dense", "DenseSpec"]

# OpenBLAS makes products of up to a million multiplications without packing first, where the processor has AVX-512.
# That halves the time of a narrow layer's weight gradient, and takes a third off its output; elsewhere such parts are
# neither faster nor slower.
_SMALL_PRODUCT: Final = 800_000
_NARROW: Final = 16


@layer("dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class DenseSpec(LayerSpec):
    """y = x W + b, with W drawn for the activation that follows ("he" for ReLU, "lecun" else)."""

    units: Annotated[int, IntRange(1, 4096)] = 128
    bias: Annotated[bool, Choice(True, False)] = True
    init: Annotated[str, Choice(*INITIALISERS)] = "he"
    init_scale: Annotated[float, FloatRange(0.01, 10.0)] = 1.0

    def build(self, in_shape: Shape, context: BuildContext) -> Dense:
        """Builds the layer for flat inputs."""
        if len(in_shape) != 1:
            raise SpecError(f"a dense layer's input must be flat, but got {in_shape}; put a flatten layer before it.")
        return Dense(self, in_shape, context)


class Dense(Layer):
    """See `DenseSpec`. Weights are (inputs, units)."""

    def __init__(self, spec: DenseSpec, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, (spec.units,))
        self.macs = math.prod(in_shape) * spec.units
        self._spec = spec
        self.weight = context.param("weight", (*in_shape, spec.units), decay=True)
        self.bias = context.param("bias", (spec.units,)) if spec.bias else None
        self.params = (self.weight,) if self.bias is None else (self.weight, self.bias)
        self._y = context.buffer(self.out_shape)
        self._part = context.buffer(self.out_shape) if spec.units <= _NARROW else self._y
        self._dx = context.buffer(in_shape) if context.input_grad else None
        self._ones = np.ones(context.max_batch, context.arena.dtype)

    def initialise(self, rng: np.random.Generator) -> None:
        """Draws the weights; the bias begins at zero."""
        draw_weights(self.weight.value, self._spec.init, self._spec.init_scale, rng)
        if self.bias is not None:
            self.bias.value[...] = 0

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, inputs) → (B, units)."""
        if train:
            self._x = x
        y = self._y[: len(x)]
        weight, rows = self.weight.value, self._rows(len(x))
        np.matmul(x[:, :rows], weight[:rows], out=y)
        for start in range(rows, len(weight), rows):
            part = slice(start, start + rows)
            y += np.matmul(x[:, part], weight[part], out=self._part[: len(x)])
        if self.bias is not None:
            y += self.bias.value
        return y

    def _rows(self, n: int) -> int:
        """Returns how many rows of the weights to take to a product with n images."""
        inputs, units = self.weight.shape
        return max(1, _SMALL_PRODUCT // (units * n)) if units <= _NARROW else inputs

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, units) → (B, inputs)."""
        rows = self._rows(len(dy))
        for start in range(0, len(self.weight.value), rows):
            part = slice(start, start + rows)
            np.matmul(self._x[:, part].T, dy, out=self.weight.grad[part])
        if self.bias is not None:
            np.matmul(self._ones[: len(dy)], dy, out=self.bias.grad)
        if self._dx is None:
            return dy
        dx = self._dx[: len(dy)]
        np.matmul(dy, self.weight.value.T, out=dx)
        return dx
