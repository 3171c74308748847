"""Convolution, batch norm, ReLU and pool, or add, as one step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.fusion.conv import FusedConv
from mnistnn.im2col import chunks
from mnistnn.layer import BuildContext, Shortcut
from mnistnn.layers.batch_norm import BatchNorm
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.types import Floats, Shape

__all__ = ["FusedConvNorm", "folded"]

# A mean whose square is as many variances away from zero costs E[z²] - E[z]² digits, and squares are taken about it.
_FAR = 4


class FusedConvNorm(FusedConv):
    """Conv2D, BatchNorm, ReLU and a 2×2 MaxPool2D or none, on the params of the first two; see FusedConv.

    Attributes are named for what is normalised: z, the maps times the sign of gamma, without the convolution's bias.
    """

    def __init__(
        self,
        conv: Conv2D,
        norm: BatchNorm,
        pool: MaxPool2D | None,
        context: BuildContext,
        shortcut: Shortcut | None = None,
    ) -> None:
        super().__init__(conv, pool, context, shortcut)
        self.params = (*conv.params, *norm.params)
        self._norm = norm
        self._count = math.prod(conv.out_shape[:2])  # numbers a channel, of one image
        self._peaks = context.buffer(self.out_shape)
        self._signed, self._scaled = context.scratch((2, *conv.weight.shape))
        # One number a channel each. All but the first two in float64: they are differences of large sums.
        self._sign, self._factor = context.scratch((2, self._filters))
        self._mean, self._inv_std, self._slope, self._level = np.zeros((4, self._filters))
        # Each repeated along a row of the map.
        width = conv.out_shape[1] * self._filters
        self._map_row, self._slope_row, self._level_row = context.scratch((3, width))

    def _used(self) -> Shape:
        return self._conv.out_shape[:2]  # the statistics look at all of it

    def _take_maps(self, context: BuildContext) -> None:
        """Takes memory for z of a whole batch, chunk after chunk."""
        self._z = context.scratch((context.max_batch * self._products.map_size,))
        context.reserve("maps", self._chunk * self._products.map_size)

    def _maps_of(self, images: slice) -> Floats:
        size = self._products.map_size
        return self._z[images.start * size : images.stop * size]

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        conv, norm = self._conv, self._norm
        bias = 0 if conv.bias is None else conv.bias.value
        if not train:
            return self._forward(x, *folded(conv, norm, out=self._signed), train=False)
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
        sums, squares = np.zeros((2, self._filters))
        origin = np.zeros(self._filters)
        self._products.set_weight(self._signed)
        for images in chunks(len(x), self._chunk):
            maps = self._maps_of(images)
            self._products.forward(x[images], maps, images)
            z = self._products.rows_of(maps)
            part, squares_part = self._sums_of(z, origin)
            if images.start == 0:
                mean = part * (self._filters / z.size)
                if np.any(mean**2 > _FAR * (squares_part * (self._filters / z.size) - mean**2)):
                    origin = mean
                    part, squares_part = self._sums_of(z, origin)
            sums += part
            squares += squares_part
            for result, peaks in self._results(maps, self._peaks[images], images, train=True):
                peaks[...] = result
        count = len(x) * self._count
        mean = sums / count
        return mean, np.maximum(squares / count - (mean - origin) ** 2, 0), count

    def _sums_of(self, z: Floats, origin: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns each channel's sum, and that of the squares of what it is off the origin. Shape: z: (rows, W · C)."""
        sums, squares = np.zeros((2, self._filters))
        self._sum(z, self._map_row, sums)
        squared = self._workspace["maps"][: z.size].reshape(z.shape)
        away = z
        if origin.any():
            away = np.subtract(z, self._repeat(origin, self._level_row), out=squared)
        np.multiply(away, away, out=squared)
        self._sum(squared, self._map_row, squares)
        return sums, squares

    def _affine_relu(self, peaks: Floats, scale: NDArray[Any], shift: NDArray[Any]) -> Floats:
        y = self._y[: len(peaks)]
        for images in chunks(len(y), self._chunk):
            rows = y[images].reshape(-1, len(self._row))
            np.multiply(peaks[images].reshape(rows.shape), self._repeat(scale, self._row), out=rows)
            rows += self._repeat(shift, self._row)
            if self._shortcut:
                np.add(y[images], self._shortcut.added()[images], out=y[images])
            np.maximum(rows, self._zeros(rows), out=rows)
        return y

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters), overwritten → (B, H, W, C).

        With ẑ = (z - mean)/σ and n its count, dz = |γ|/σ · (dy - Σdy/n - ẑ · Σ(dy·ẑ)/n), where dy is 0 off the maxima:
        there it is a line in z, `slope` · z + `level`. Both sums need the maxima alone. The factor |γ|/σ of a channel
        goes into the weights, and into their gradient, not over the maps.
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
        count = len(dy) * self._count
        scale = np.abs(norm.gamma.value) * self._inv_std
        self._slope[...] = -self._inv_std * sum_dy_zhat / count
        self._level[...] = -sum_dy / count - self._slope * self._mean
        self._repeat(self._slope, self._slope_row)
        self._repeat(self._level, self._level_row)
        self._factor[...] = scale
        dx = self._backward(dy, np.multiply(self._signed, self._factor, out=self._scaled))
        self._factor *= self._sign
        np.multiply(conv.weight.grad, self._factor, out=conv.weight.grad)
        return dx

    def _unpool(self, dy: Floats, images: slice) -> None:
        products, z = self._products, self._maps_of(images)
        lines = self._workspace["maps"][: z.size]
        rows = products.rows_of(lines)
        np.multiply(products.rows_of(z), self._slope_row, out=rows)
        rows += self._level_row
        if self._pool is None:
            for i, half in enumerate(products.gradient_even_odd(len(dy))):
                np.add(products.even_odd(lines)[i], dy[:, i::2].transpose(1, 0, 2, 3), out=half)
            return
        if any(size % 2 for size in products.used):  # what fills no square
            for line, half in zip(products.even_odd(lines), products.gradient_even_odd(len(dy)), strict=True):
                half[...] = line
        self._pool.backward(dy, products.gradient_corners(len(dy)), images, base=products.corners(lines))


def folded(conv: Conv2D, norm: BatchNorm, *, out: Floats) -> tuple[Floats, NDArray[Any]]:
    """Writes the weights of a convolution that does a norm's work at inference, and returns them with its bias.

    Shape:
        out: that of the weights → the same, (filters,)
    """
    scale = norm.gamma.value / np.sqrt(norm.running_var.value + norm.spec.eps)
    bias = 0 if conv.bias is None else conv.bias.value
    return np.multiply(conv.weight.value, scale, out=out), norm.beta.value + (bias - norm.running_mean.value) * scale
