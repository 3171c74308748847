"""Convolution of a net's input, batch norm, ReLU and pool, or add, as one step."""

from __future__ import annotations

import math

import numpy as np

from mnistnn.fusion.conv import FusedConv
from mnistnn.fusion.conv_norm import folded
from mnistnn.fusion.input_conv import InputConv
from mnistnn.im2col import chunks
from mnistnn.layer import BuildContext, Shortcut
from mnistnn.layers.batch_norm import BatchNorm
from mnistnn.layers.conv2d import Conv2D
from mnistnn.layers.max_pool2d import MaxPool2D
from mnistnn.types import Floats

__all__ = ["FusedInputConvNorm"]


class FusedInputConvNorm(FusedConv):
    """The same as FusedConvNorm where patches hold few numbers and no input gradient is owed: no pass over the maps.

    z, what is normalised, is linear in the patches p. With their sum s and G = Σ p pᵀ, both small, z's sums are W s and
    those of its squares wᵀ G w, for each filter's weights w: known before any product is made, so that the norm is
    folded into the weights as at inference. Backward, with Γ = Σ p dyᵀ, the weights' gradient had there been no norm,
    Σ dy · z is Σ W · Γ, and what comes from dz's part `slope` · z + `level` (see FusedConvNorm) is G W `slope` +
    s `level`.
    """

    def __init__(
        self,
        conv: Conv2D,
        norm: BatchNorm,
        pool: MaxPool2D | None,
        context: BuildContext,
        shortcut: Shortcut | None = None,
    ) -> None:
        self._norm = norm
        super().__init__(conv, pool, context, shortcut)
        self.params = (*conv.params, *norm.params)
        self._count = math.prod(conv.out_shape[:2])  # numbers a channel, of one image
        self._folded = context.scratch(conv.weight.shape)
        self._mean, self._inv_std = np.zeros((2, self._filters))

    def _used(self) -> tuple[int, ...]:
        return self._conv.out_shape[:2]  # the statistics look at all of it

    def forward(self, x: Floats, *, train: bool) -> Floats:
        """Shape: x: (B, H, W, C) → (B, H', W', filters)."""
        conv, norm = self._conv, self._norm
        if not train:
            return self._forward(x, *folded(conv, norm, out=self._folded), train=False)
        products = self._input_conv()
        for images in chunks(len(x), self._chunk):
            products.unfold(x[images], images)
            products.add_moments(images)
        self._patch_sum, self._patch_squares = products.patch_moments()
        count = len(x) * self._count
        patch_mean = self._patch_sum / count
        covariance = self._patch_squares / count - np.outer(patch_mean, patch_mean)
        exact = self._exact()
        self._mean[...] = patch_mean @ exact
        var = np.maximum(np.einsum("pf,pf->f", exact, covariance @ exact), 0)
        self._inv_std[...] = 1 / np.sqrt(var + norm.spec.eps)
        norm.update_running(self._mean + (0 if conv.bias is None else conv.bias.value), var, count)
        scale = norm.gamma.value * self._inv_std
        self._folded.reshape(exact.shape)[...] = exact * scale
        return self._forward(x, self._folded, norm.beta.value - self._mean * scale, train=True)

    def _input_conv(self) -> InputConv:
        assert isinstance(self._products, InputConv)  # as `fuse` chose it
        return self._products

    def _exact(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Returns the weights in float64, for differences of large sums. Shape: (k · k · C, filters)."""
        return self._conv.weight.value.reshape(-1, self._filters).astype(np.float64)

    def _convolve(self, x: Floats, maps: Floats, images: slice | None) -> None:
        if images is None:
            super()._convolve(x, maps, images)
        else:
            self._input_conv().multiply(maps, images)

    def backward(self, dy: Floats) -> Floats:
        """Shape: dy: (B, H', W', filters), overwritten; what it returns means nothing."""
        conv, norm = self._conv, self._norm
        self._through_relu(dy)
        self._sum(dy, self._row, norm.beta.grad)
        self._backward(dy, conv.weight.value)
        grad, exact = conv.weight.grad.reshape(-1, self._filters), self._exact()
        sum_dy = norm.beta.grad.astype(np.float64)
        sum_dy_z = np.einsum("pf,pf->f", exact, grad)
        sum_dy_zhat = (sum_dy_z - self._mean * sum_dy) * self._inv_std
        norm.gamma.grad[...] = sum_dy_zhat
        if conv.bias is not None:
            conv.bias.grad[...] = 0  # the norm takes it off again
        count = len(dy) * self._count
        slope = -self._inv_std * sum_dy_zhat / count
        level = -sum_dy / count - slope * self._mean
        lines = (self._patch_squares @ exact) * slope + np.outer(self._patch_sum, level)
        grad[...] = (grad + lines) * (norm.gamma.value * self._inv_std)
        return dy
