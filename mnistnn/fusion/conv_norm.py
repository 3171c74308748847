"""Convolution, batch norm, ReLU and pool as one step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.fusion.conv import FusedConv
from mnistnn.fusion.taps import add_products
from mnistnn.im2col import chunks
from mnistnn.layer import BuildContext
from mnistnn.layers.batch_norm import BatchNorm
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.types import Floats

__all__ = ["FusedConvNorm", "FusedInputConvNorm"]


class FusedConvNorm(FusedConv):
    """Conv2D, BatchNorm, ReLU and a 2×2 MaxPool2D or none, on the params of the first two.

    Attributes are named for what is normalised: z, the maps times the sign of gamma, without the convolution's bias.
    """

    def __init__(self, conv: Conv2D, norm: BatchNorm, pool: MaxPool2D | None, context: BuildContext) -> None:
        super().__init__(conv, pool, context)
        self.params = (*conv.params, *norm.params)
        self._norm = norm
        self._count = math.prod(conv.out_shape[:2])  # numbers a channel, of one image
        self._z = self._take_z(context)
        self._peaks = context.buffer(self.out_shape)
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
        for images, shape, size in self._chunks(len(x)):
            z = self._z_of(images, size)
            self._convolve(x[images], weight, z)
            self._sum(z, self._map_row, part)
            sums += part
            if origin is None:  # squares are taken about a mean, for E[z²] - E[z]² would lose its digits
                origin = part * (self._filters / size)
                self._repeat(origin, self._level_row)
            squared = self._dmaps[:size].reshape(-1, len(self._map_row))
            np.subtract(z.reshape(squared.shape), self._level_row, out=squared)
            np.multiply(squared, squared, out=squared)
            self._sum(squared, self._map_row, part)
            squares += part
            self._keep_peaks(z.reshape(shape), images)
        count = len(x) * self._count
        mean = sums / count
        return mean, np.maximum(squares / count - (mean - (0 if origin is None else origin)) ** 2, 0), count

    def _take_z(self, context: BuildContext) -> Floats:
        """Returns memory for z of a whole batch, chunk after chunk."""
        return context.scratch((context.max_batch * self._count * self._filters,))

    def _z_of(self, images: slice, size: int) -> Floats:
        start = images.start * self._count * self._filters
        return self._z[start : start + size]

    def _keep_peaks(self, z: Floats, images: slice) -> None:
        if self._pool:
            self._pool.forward(z, self._peaks[images], images, train=True)
        else:
            self._peaks[images] = z.transpose(1, 0, 2, 3)

    def _affine_relu(self, peaks: Floats, scale: NDArray[Any], shift: NDArray[Any]) -> Floats:
        y = self._y[: len(peaks)]
        for images in chunks(len(y), self._chunk):
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
        count = len(dy) * self._count
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
        np.multiply(self._z_of(images, dmaps.size).reshape(rows.shape), self._slope_row, out=rows)
        rows += self._level_row
        if self._pool:
            self._pool.backward(dy, dmaps, images, add=True)
        else:
            dmaps += dy.transpose(1, 0, 2, 3)


class FusedInputConvNorm(FusedConvNorm):
    """The same on a net's input, whose gradient nobody needs, with few numbers a patch.

    z is linear in the patches p: with their sum s and G = Σ p pᵀ, both small, z's sums are W s, those of its squares
    wᵀ G w for each filter's weights w, and the part of the weights' gradient that comes from `slope` · z + `level` is
    G W `slope` + s `level`. So no pass over the maps is made for the norm, and z need not be kept.
    """

    def _take_z(self, context: BuildContext) -> Floats:
        size = self._conv.kernel**2 * self.in_shape[2]
        self._patch_sum, self._patch_squares = np.zeros(size), np.zeros((size, size))
        self._square_part = context.scratch((size, size))
        return self._maps

    def _z_of(self, images: slice, size: int) -> Floats:
        return self._maps[:size]

    def _forward_product(self, x: Floats) -> tuple[NDArray[Any], NDArray[Any], int]:
        weight = self._signed.reshape(-1, self._filters)
        self._patch_sum[...] = 0
        self._patch_squares[...] = 0
        for images, shape, size in self._chunks(len(x)):
            z = self._maps[:size]
            ((patches, _),) = taps = self._taps.of(x[images])
            add_products(taps, weight, z.reshape(-1, self._filters), self._part)
            np.matmul(patches.T, patches, out=self._square_part)
            self._patch_squares += self._square_part
            self._patch_sum += np.add.reduce(patches, axis=0)
            self._keep_peaks(z.reshape(shape), images)
        count = len(x) * self._count
        patch_mean = self._patch_sum / count
        covariance = self._patch_squares / count - np.outer(patch_mean, patch_mean)
        exact = weight.astype(np.float64)
        return patch_mean @ exact, np.maximum(np.einsum("pf,pf->f", exact, covariance @ exact), 0), count

    def _backward(self, dy: Floats) -> Floats:
        dx = super()._backward(dy)
        grad = self._conv.weight.grad.reshape(-1, self._filters)
        exact = self._signed.reshape(-1, self._filters).astype(np.float64)
        grad += (self._patch_squares @ exact) * self._slope + np.outer(self._patch_sum, self._level)
        return dx

    def _unpool(self, dy: Floats, dmaps: Floats, images: slice) -> None:
        FusedConv._unpool(self, dy, dmaps, images)
