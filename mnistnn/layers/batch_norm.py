"""BatchNorm: each channel to mean 0 and variance 1 over the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from mnistnn.domains import FloatRange
from mnistnn.layer import BuildContext, Layer, LayerSpec
from mnistnn.registry import layer
from mnistnn.types import Floats, Shape

__all__ = ["BatchNorm", "BatchNormSpec"]


@layer("batch_norm", role="norm")
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNormSpec(LayerSpec):
    """Normalise each feature, or each channel of a map, over the batch; then scale by gamma and shift by beta.

    Inference takes running averages of mean and (unbiased) variance, in which a batch has weight `momentum`.
    Source: Ioffe and Szegedy 2015; definitions as in PyTorch.
    """

    momentum: Annotated[float, FloatRange(0.001, 1.0)] = 0.1
    eps: Annotated[float, FloatRange(1e-8, 0.1)] = 1e-5

    def build(self, in_shape: Shape, context: BuildContext) -> BatchNorm:
        """Builds the layer for flat inputs or maps; the last axis is normalised."""
        return BatchNorm(self, in_shape, context)


class BatchNorm(Layer):
    """See `BatchNormSpec`.

    A map is worked on as (B · H, W · C), with the channels' numbers repeated W times: NumPy's inner loops are then
    long. Sums over the rows are products with a vector of ones, which BLAS does fastest and most exactly.
    """

    momentum: float

    def __init__(self, spec: BatchNormSpec, in_shape: Shape, context: BuildContext) -> None:
        super().__init__(in_shape, in_shape)
        channels = in_shape[-1]
        self.spec, self.momentum = spec, spec.momentum
        self.gamma = context.param("gamma", (channels,))
        self.beta = context.param("beta", (channels,))
        self.params = (self.gamma, self.beta)
        self.running_mean = context.state("running_mean", (channels,), 0.0)
        self.running_var = context.state("running_var", (channels,), 1.0)
        self._repeats = in_shape[1] if len(in_shape) == 3 else 1  # W
        self._row = self._repeats * channels
        self._rows_per_image = math.prod(in_shape) // self._row  # H
        self._ones = np.ones(context.max_batch * self._rows_per_image, context.arena.dtype)
        self._sums = context.scratch((self._row,))
        self._wide = context.scratch((self._row,))
        self._mean, self._inv_std = context.scratch((channels,)), context.scratch((channels,))
        self._x_hat, self._y = context.buffer(in_shape), context.buffer(in_shape)

    def initialise(self, rng: np.random.Generator) -> None:
        """Begins as the bare normalisation."""
        self.gamma.value[...] = 1
        self.beta.value[...] = 0

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, …, C) → the same."""
        rows = x.reshape(-1, self._row)
        y = self._y[: len(x)].reshape(rows.shape)
        if train:
            x_hat = self._normalise(rows, y)
            np.multiply(x_hat, self._widen(self.gamma.value), out=y)
            y += self._widen(self.beta.value)
        else:
            scale = self.gamma.value / np.sqrt(self.running_var.value + self.spec.eps)
            np.multiply(rows, self._widen(scale), out=y)
            y += self._widen(self.beta.value - self.running_mean.value * scale)
        return self._y[: len(x)]

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, …, C) → the same, in place.

        With x̂ the normalised input and n its count: dx = γ/σ · (dy - mean(dy) - x̂ · mean(dy · x̂)).
        """
        drows = dy.reshape(-1, self._row)
        x_hat = self._x_hat[: len(dy)].reshape(drows.shape)
        scratch = self._y[: len(dy)].reshape(drows.shape)  # the layers above have done with it
        count = len(drows) * self._repeats
        self._sum(drows, self.beta.grad)
        np.multiply(drows, x_hat, out=scratch)
        self._sum(scratch, self.gamma.grad)
        x_hat *= self._widen(self.gamma.grad / count)
        drows -= x_hat
        drows -= self._widen(self.beta.grad / count)
        drows *= self._widen(self.gamma.value * self._inv_std)
        return dy

    def update_running(self, mean: Floats, var: Floats, count: int) -> None:
        """Takes a batch's statistics, over `count` numbers a channel, into the running averages."""
        momentum, unbiased = self.momentum, count / max(1, count - 1)
        self.running_mean.value[...] += momentum * (mean - self.running_mean.value)
        self.running_var.value[...] += momentum * (unbiased * var - self.running_var.value)

    def _normalise(self, rows: Floats, scratch: Floats) -> Floats:
        """Returns the normalised rows, in their buffer, and takes their statistics into the running averages."""
        count = len(rows) * self._repeats
        x_hat = self._x_hat.reshape(-1, self._row)[: len(rows)]
        self._sum(rows, self._mean)
        self._mean /= count
        np.subtract(rows, self._widen(self._mean), out=x_hat)
        np.multiply(x_hat, x_hat, out=scratch)
        self._sum(scratch, self._inv_std)
        self._inv_std /= count  # the variance, for now
        self.update_running(self._mean, self._inv_std, count)
        self._inv_std += self.spec.eps
        np.sqrt(self._inv_std, out=self._inv_std)
        np.divide(1, self._inv_std, out=self._inv_std)
        x_hat *= self._widen(self._inv_std)
        return x_hat

    def _sum(self, rows: Floats, out: Floats) -> None:
        """Sums over everything but the channels."""
        if self._repeats == 1:
            np.matmul(self._ones[: len(rows)], rows, out=out)
            return
        np.matmul(self._ones[: len(rows)], rows, out=self._sums)
        np.add.reduce(self._sums.reshape(self._repeats, -1), axis=0, out=out)

    def _widen(self, channels: Floats) -> Floats:
        """Repeats the channels' numbers along a row; good until the next call."""
        if self._repeats == 1:
            return channels
        self._wide.reshape(self._repeats, -1)[...] = channels
        return self._wide
