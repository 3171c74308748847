"""Conv2D: the same small window over the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.domains import Choice, FloatRange, IntRange
from mnistnn.errors import SpecError
from mnistnn.im2col import Overlaps, Patches, chunks
from mnistnn.initialise import INITIALISERS, draw_weights
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.spec import later
from mnistnn.types import Floats, Shape

__all__ = ["Conv2D", "Conv2DSpec"]


@layer("conv2d")
@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2DSpec(LayerSpec):
    """Correlate (H, W, C) with `filters` kernels of kernel × kernel × C, at each `stride`-th row and column.

    `padding` "same" takes as many windows as there are pixels, by a border of zeros: with stride 1 it keeps H and W,
    with 2 half of them. "valid" takes only whole windows. Definition as in PyTorch, with padding k // 2 or 0.
    """

    filters: Annotated[int, IntRange(1, 512)] = 32
    kernel: Annotated[int, Choice(1, 3, 5, 7)] = 3
    padding: Annotated[str, Choice("same", "valid")] = "same"
    bias: Annotated[bool, Choice(True, False)] = True
    init: Annotated[str, Choice(*INITIALISERS)] = "he"
    init_scale: Annotated[float, FloatRange(0.01, 10.0)] = 1.0
    stride: Annotated[int, IntRange(1, 4)] = later(1)

    def build(self, in_shape: Shape, context: BuildContext) -> Conv2D:
        """Builds the layer for maps."""
        if len(in_shape) != 3:
            raise SpecError(f"a conv2d layer's input must be a map, but got {in_shape}; put it before flatten.")
        if self.padding == "valid" and min(in_shape[:2]) < self.kernel:
            raise SpecError(
                f"a map must be as large as a valid kernel, but got a map of {in_shape} and kernel={self.kernel}; "
                "take padding='same' or fewer pools."
            )
        return Conv2D(self, in_shape, context)


class Conv2D(Layer):
    """See `Conv2DSpec`. Weights are (k, k, C, filters).

    Patches are unfolded chunk by chunk, and again in `backward`: that costs less than to keep them, which would take
    k · k times the memory of the input and push everything else out of the cache. With stride 1 the input's gradient is
    a convolution too; with another, each patch says its part of it, and these are added up.
    """

    def __init__(self, spec: Conv2DSpec, in_shape: Shape, context: BuildContext) -> None:
        k, channels, filters = spec.kernel, in_shape[2], spec.filters
        pad = k // 2 if spec.padding == "same" else 0
        self._patches = Patches(context, in_shape, k, pad, spec.stride)
        super().__init__(in_shape, (self._patches.rows, self._patches.columns, filters))
        self.macs = self._patches.rows * self._patches.columns * k * k * channels * filters
        self._spec = spec
        self.kernel, self.padding, self.stride, self.input_grad = k, pad, spec.stride, context.input_grad
        self.weight = context.param("weight", (k, k, channels, filters), decay=True)
        self.bias = context.param("bias", (filters,)) if spec.bias else None
        self.params = (self.weight,) if self.bias is None else (self.weight, self.bias)
        self._y = context.buffer(self.out_shape)
        self._dweight = context.scratch((k * k * channels, filters))
        self._ones = np.ones(context.max_batch * self._patches.rows * self._patches.columns, context.arena.dtype)
        if context.input_grad:
            self._dx = context.buffer(in_shape)
        if context.input_grad and spec.stride > 1:
            self._overlaps = Overlaps(context, in_shape, self._patches, k, pad, spec.stride)
        elif context.input_grad:
            # dx is dy, padded to the full correlation, correlated with the kernels turned by 180°.
            self._dy_patches = Patches(context, self.out_shape, k, k - 1 - pad)
            self._turned = context.scratch((k, k, filters, channels))

    def initialise(self, rng: np.random.Generator) -> None:
        """Draws the weights; the bias begins at zero."""
        draw_weights(self.weight.value, self._spec.init, self._spec.init_scale, rng)
        if self.bias is not None:
            self.bias.value[...] = 0

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        if train:
            self._x = x
        y = self._y[: len(x)]
        weight = self.weight.value.reshape(-1, self._spec.filters)
        for chunk in chunks(len(x), self._patches.chunk):
            rows = y[chunk].reshape(-1, self._spec.filters)
            np.matmul(self._patches.of(x[chunk]), weight, out=rows)
            if self.bias is not None:
                rows += self.bias.value
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters) → (B, H, W, C)."""
        grad = self.weight.grad.reshape(-1, self._spec.filters)
        grad[...] = 0
        for chunk in chunks(len(dy), self._patches.chunk):
            rows = dy[chunk].reshape(-1, self._spec.filters)
            np.matmul(self._patches.of(self._x[chunk]).T, rows, out=self._dweight)
            grad += self._dweight
        if self.bias is not None:
            rows = dy.reshape(-1, self._spec.filters)
            np.matmul(self._ones[: len(rows)], rows, out=self.bias.grad)
        if not self.input_grad:
            return dy
        return self._backward_input(dy) if self.stride == 1 else self._backward_strided_input(dy)

    def _backward_strided_input(self, dy: Floats) -> Floats:
        filters, channels = self._spec.filters, self.in_shape[2]
        weight = self.weight.value.reshape(-1, channels, filters).transpose(0, 2, 1)  # (k · k, filters, C)
        dx = self._dx[: len(dy)]
        for chunk in chunks(len(dy), self._patches.chunk):
            rows = dy[chunk].reshape(-1, filters)
            np.matmul(rows, weight, out=self._overlaps.taps(len(dx[chunk])))
            self._overlaps.sum(dx[chunk])
        return dx

    def _backward_input(self, dy: Floats) -> Floats:
        channels = self.in_shape[2]
        self._turned[...] = self.weight.value[::-1, ::-1].transpose(0, 1, 3, 2)
        turned = self._turned.reshape(-1, channels)
        dx = self._dx[: len(dy)]
        for chunk in chunks(len(dy), self._dy_patches.chunk):
            np.matmul(self._dy_patches.of(dy[chunk]), turned, out=dx[chunk].reshape(-1, channels))
        return dx
