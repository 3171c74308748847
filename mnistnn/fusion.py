"""The fast plan over a network's layers: convolution, norm, ReLU and max pool as one step, equal to them by test.

A plain layer goes over the whole batch, so every pass over a map comes from main memory. Here a few images at a time
go through product, norm sums and pool while they lie in the core's own cache. The pool comes before the norm's scale
and shift and before the ReLU: they do not change which of four numbers is the largest (a negative scale's sign moves
into the convolution's weights), and three quarters of their work falls away. At inference the norm is folded into the
weights altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mnistnn.im2col import Patches, chunks
from mnistnn.layer import BuildContext, Layer
from mnistnn.layers.batch_norm import BatchNorm
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.layers.relu import ReLU
from mnistnn.types import Floats, Shape

LayerKind = TypeVar("LayerKind", bound=Layer)

__all__ = ["FusedConv", "FusedConvNorm", "fuse"]


def fuse(layers: Sequence[Layer], context: BuildContext) -> list[Layer]:
    """Returns the layers with each run of convolution, [norm,] ReLU[, 2×2 pool] replaced by one that does its work.

    Args:
        layers: of a network, in order, built and allocated; the fused layers work on their params.
        context: gives the buffers.
    """
    plan: list[Layer] = []
    rest = list(layers)
    while rest:
        conv = rest.pop(0)
        norm = _first(rest, BatchNorm)
        if not isinstance(conv, Conv2D) or not _first(rest[1:] if norm else rest, ReLU):
            plan.append(conv)
            continue
        del rest[: 2 if norm else 1]
        pool = _first(rest, MaxPool2D)
        if pool and pool.size == 2:
            del rest[0]
        else:
            pool = None
        plan.append(FusedConvNorm(conv, norm, pool, context) if norm else FusedConv(conv, pool, context))
    return plan


def _first(layers: Sequence[Layer], kind: type[LayerKind]) -> LayerKind | None:
    """Returns the first layer if it is of that kind."""
    return layers[0] if layers and isinstance(layers[0], kind) else None


class _Pool:
    """2×2 max pooling of a few images at a time, which remembers where each maximum stood."""

    def __init__(self, out_shape: Shape, chunk: int, context: BuildContext) -> None:
        self._rows, self._columns = 2 * out_shape[0], 2 * out_shape[1]
        # Whether the right number of the upper pair, that of the lower pair, and the lower pair won. On a tie none
        # did, so that the first in reading order gets the gradient.
        self._won = context.scratch((3, context.max_batch, *out_shape), np.bool_)
        self._pairs = context.scratch((3, chunk, *out_shape))

    def _corners(self, maps: Floats) -> list[Floats]:
        return [maps[:, i : self._rows : 2, j : self._columns : 2] for i in (0, 1) for j in (0, 1)]

    def forward(self, maps: Floats, out: Floats, images: slice, *, train: bool) -> None:
        """Writes the maxima of `maps`, which are those of `images` in the batch, to `out`."""
        upper_left, upper_right, lower_left, lower_right = self._corners(maps)
        upper, lower = self._pairs[0, : len(maps)], self._pairs[1, : len(maps)]
        np.maximum(upper_left, upper_right, out=upper)
        np.maximum(lower_left, lower_right, out=lower)
        if train:
            won = self._won[:, images]
            np.greater(upper_right, upper_left, out=won[0])
            np.greater(lower_right, lower_left, out=won[1])
            np.greater(lower, upper, out=won[2])
        np.maximum(upper, lower, out=out)

    def backward(self, dy: Floats, dmaps: Floats, images: slice, *, add: bool) -> None:
        """Puts the gradients where the maxima stood; `add` adds them to what is there, else the rest becomes 0."""
        won = self._won[:, images]
        upper, lower, right = (pair[: len(dy)] for pair in self._pairs)
        np.multiply(dy, won[2], out=lower)
        np.subtract(dy, lower, out=upper)
        corners = self._corners(dmaps)
        for pair, pair_won, (dleft, dright) in ((upper, won[0], corners[:2]), (lower, won[1], corners[2:])):
            if add:
                np.multiply(pair, pair_won, out=right)
                np.add(dright, right, out=dright)
                np.subtract(pair, right, out=right)
                np.add(dleft, right, out=dleft)
            else:
                np.multiply(pair, pair_won, out=dright)
                np.subtract(pair, dright, out=dleft)


class FusedConv(Layer):
    """Conv2D, ReLU and a 2×2 MaxPool2D or none, on the params of the Conv2D."""

    def __init__(self, conv: Conv2D, pool: MaxPool2D | None, context: BuildContext) -> None:
        super().__init__(conv.in_shape, conv.out_shape if pool is None else pool.out_shape)
        self.macs, self.params = conv.macs, conv.params
        self._conv = conv
        rows, columns, self._filters = conv.out_shape
        self._patches = Patches(context, conv.in_shape, conv.kernel, conv.padding)
        n = self._patches.chunk
        self._pool = _Pool(self.out_shape, n, context) if pool else None
        self._maps = context.scratch((n, *conv.out_shape))
        self._dmaps = context.scratch((n, *conv.out_shape))
        self._dmaps[...] = 0  # rows and columns that fill no square are never written
        self._y = context.buffer(self.out_shape)
        self._positive = context.buffer(self.out_shape, np.bool_)
        self._dweight = context.scratch((conv.kernel**2 * conv.in_shape[2], self._filters))
        # One number a channel, repeated along a row of the output or of the map: long inner loops for NumPy.
        self._row = context.scratch((self.out_shape[1] * self._filters,))
        self._map_row = context.scratch((columns * self._filters,))
        self._ones = np.ones(context.max_batch * rows, context.arena.dtype)
        if conv.input_grad:
            self._dmap_patches = Patches(context, conv.out_shape, conv.kernel, conv.kernel - 1 - conv.padding)
            self._turned = context.scratch((conv.kernel, conv.kernel, self._filters, conv.in_shape[2]))
            self._dx = context.buffer(conv.in_shape)

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        bias = None if self._conv.bias is None else self._conv.bias.value
        return self._forward(x, self._conv.weight.value.reshape(-1, self._filters), bias, train=train)

    def _forward(self, x: Floats, weight: Floats, bias: Floats | None, *, train: bool) -> Floats:
        if train:
            self._x = x
        y = self._y[: len(x)]
        for images in chunks(len(x), self._patches.chunk):
            out = y[images]
            maps = self._maps[: len(out)] if self._pool else out
            np.matmul(self._patches.of(x[images]), weight, out=maps.reshape(-1, self._filters))
            if self._pool:
                self._pool.forward(maps, out, images, train=train)
            if bias is not None:
                rows = out.reshape(-1, len(self._row))
                rows += self._repeat(bias, self._row)
            np.maximum(out, 0, out=out)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters), overwritten → (B, H, W, C)."""
        self._through_relu(dy)
        if self._conv.bias is not None:
            self._sum(dy, self._row, self._conv.bias.grad)
        return self._backward(dy)

    def _through_relu(self, dy: Floats) -> None:
        positive = np.greater(self._y[: len(dy)], 0, out=self._positive[: len(dy)])
        np.multiply(dy, positive, out=dy)

    def _backward(self, dy: Floats) -> Floats:
        """Sets the weights' grads from the gradient by the pooled map, and returns that by the input."""
        conv = self._conv
        grad = conv.weight.grad.reshape(-1, self._filters)
        grad[...] = 0
        if conv.input_grad:
            self._turned[...] = self._weight_used()[::-1, ::-1].transpose(0, 1, 3, 2)
        for images in chunks(len(dy), self._patches.chunk):
            dmaps = self._dmaps[: images.stop - images.start]
            self._unpool(dy[images], dmaps, images)
            np.matmul(self._patches.of(self._x[images]).T, dmaps.reshape(-1, self._filters), out=self._dweight)
            grad += self._dweight
            if conv.input_grad:
                self._backward_input(dmaps, self._dx[images])
        return self._dx[: len(dy)] if conv.input_grad else dy

    def _weight_used(self) -> Floats:
        """Returns the weights that the maps were made with."""
        return self._conv.weight.value

    def _unpool(self, dy: Floats, dmaps: Floats, images: slice) -> None:
        """Writes the gradient by the convolution's maps."""
        if self._pool:
            self._pool.backward(dy, dmaps, images, add=False)
        else:
            dmaps[...] = dy

    def _backward_input(self, dmaps: Floats, dx: Floats) -> None:
        channels = self.in_shape[2]
        turned = self._turned.reshape(-1, channels)
        for images in chunks(len(dmaps), self._dmap_patches.chunk):
            np.matmul(self._dmap_patches.of(dmaps[images]), turned, out=dx[images].reshape(-1, channels))

    def _repeat(self, channels: NDArray[Any], row: Floats) -> Floats:
        """Writes one number a channel along all of `row`, and returns it."""
        row.reshape(-1, self._filters)[...] = channels
        return row

    def _sum(self, maps: Floats, row: Floats, out: NDArray[Any]) -> None:
        """Sums over everything but the channels; `row`, of a map's row, is overwritten."""
        rows = maps.reshape(-1, len(row))
        np.matmul(self._ones[: len(rows)], rows, out=row)
        np.sum(row.reshape(-1, self._filters), axis=0, out=out)


class FusedConvNorm(FusedConv):
    """Conv2D, BatchNorm, ReLU and a 2×2 MaxPool2D or none, on the params of the first two.

    Attributes are named for what is normalised: z, the maps times the sign of gamma, without the convolution's bias.
    """

    def __init__(self, conv: Conv2D, norm: BatchNorm, pool: MaxPool2D | None, context: BuildContext) -> None:
        super().__init__(conv, pool, context)
        self.params = (*conv.params, *norm.params)
        self._norm = norm
        self._z = context.buffer(conv.out_shape)
        self._peaks = context.buffer(self.out_shape) if pool else self._z
        self._signed = context.scratch(conv.weight.shape)
        # One number a channel each. All but the sign in float64: they are differences of large sums.
        self._sign = context.scratch((self._filters,))
        self._mean, self._inv_std, self._slope, self._level = np.zeros((4, self._filters))
        self._slope_row, self._level_row = context.scratch((2, len(self._map_row)))

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        conv, norm = self._conv, self._norm
        bias = 0 if conv.bias is None else conv.bias.value
        if not train:
            scale = norm.gamma.value / np.sqrt(norm.running_var.value + norm.spec.eps)
            np.multiply(conv.weight.value, scale, out=self._signed)
            shift = norm.beta.value + (bias - norm.running_mean.value) * scale
            return self._forward(x, self._signed.reshape(-1, self._filters), shift, train=False)
        self._x = x
        self._sign[...] = np.copysign(1, norm.gamma.value)
        np.multiply(conv.weight.value, self._sign, out=self._signed)
        mean, var, count = self._forward_product(x)
        norm.update_running(mean * self._sign + bias, var, count)
        self._mean[...] = mean
        self._inv_std[...] = 1 / np.sqrt(var + norm.spec.eps)
        scale = np.abs(norm.gamma.value) * self._inv_std
        return self._affine_relu(self._peaks[: len(x)], scale, norm.beta.value - mean * scale)

    def _forward_product(self, x: Floats) -> tuple[NDArray[Any], NDArray[Any], int]:
        """Computes z and its maxima; returns z's mean, variance and count over the batch."""
        weight = self._signed.reshape(-1, self._filters)
        sums, squares, part = np.zeros((3, self._filters))
        origin: NDArray[Any] | None = None
        for images in chunks(len(x), self._patches.chunk):
            z = self._z[images]
            np.matmul(self._patches.of(x[images]), weight, out=z.reshape(-1, self._filters))
            self._sum(z, self._map_row, part)
            sums += part
            if origin is None:  # squares are taken about a mean, for E[z²] - E[z]² would lose its digits
                origin = part / (z.size // self._filters)
                self._repeat(origin, self._level_row)
            squared = self._dmaps[: len(z)].reshape(-1, len(self._map_row))
            np.subtract(z.reshape(squared.shape), self._level_row, out=squared)
            np.multiply(squared, squared, out=squared)
            self._sum(squared, self._map_row, part)
            squares += part
            if self._pool:
                self._pool.forward(z, self._peaks[images], images, train=True)
        count = len(x) * self._z[0].size // self._filters
        mean = sums / count
        return mean, np.maximum(squares / count - (mean - (0 if origin is None else origin)) ** 2, 0), count

    def _affine_relu(self, peaks: Floats, scale: NDArray[Any], shift: NDArray[Any]) -> Floats:
        y = self._y[: len(peaks)]
        for images in chunks(len(y), self._patches.chunk):
            rows = y[images].reshape(-1, len(self._row))
            np.multiply(peaks[images].reshape(rows.shape), self._repeat(scale, self._row), out=rows)
            rows += self._repeat(shift, self._row)
            np.maximum(rows, 0, out=rows)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters), overwritten → (B, H, W, C).

        With ẑ = (z - mean)/σ and n its count, dz = |γ|/σ · (dy - Σdy/n - ẑ · Σ(dy·ẑ)/n), where dy is 0 off the maxima:
        there it is a line in z, `slope` · z + `level`. Both sums need the maxima alone.
        """
        conv, norm = self._conv, self._norm
        self._through_relu(dy)
        peaks, scratch = self._peaks[: len(dy)], self._y[: len(dy)]  # the layers above have done with y
        sum_dy, sum_dy_z = np.zeros((2, self._filters))
        self._sum(dy, self._row, sum_dy)
        np.multiply(dy, peaks, out=scratch)
        self._sum(scratch, self._row, sum_dy_z)
        sum_dy_zhat = (sum_dy_z - self._mean * sum_dy) * self._inv_std
        norm.beta.grad[...] = sum_dy
        norm.gamma.grad[...] = sum_dy_zhat * self._sign
        if conv.bias is not None:
            conv.bias.grad[...] = 0  # the norm takes it off again
        count = len(dy) * self._z[0].size // self._filters
        scale = np.abs(norm.gamma.value) * self._inv_std
        self._slope[...] = -scale * self._inv_std * sum_dy_zhat / count
        self._level[...] = -scale * sum_dy / count - self._slope * self._mean
        self._repeat(self._slope, self._slope_row)
        self._repeat(self._level, self._level_row)
        rows = dy.reshape(-1, len(self._row))
        rows *= self._repeat(scale, self._row)
        dx = self._backward(dy)
        grad = conv.weight.grad
        np.multiply(grad, self._sign, out=grad)
        return dx

    def _weight_used(self) -> Floats:
        return self._signed

    def _unpool(self, dy: Floats, dmaps: Floats, images: slice) -> None:
        rows = dmaps.reshape(-1, len(self._map_row))
        np.multiply(self._z[images].reshape(rows.shape), self._slope_row, out=rows)
        rows += self._level_row
        if self._pool:
            self._pool.backward(dy, dmaps, images, add=True)
        else:
            dmaps += dy
