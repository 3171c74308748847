"""The report's best net as its text describes it, in float64: what this project wants to be faster than.

Written from the description: images as (B, channels, H, W), im2col into a new float64 array for the convolution and
again for the pool, argmax and a scatter for the pool's gradient, new arrays for every result, an Adam for each layer.
What the report got wrong (dropout that is not inverted, one input channel) costs no time and is left as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReportNet"]

Array = NDArray[Any]


class _Adam:
    def __init__(self, learning_rate: float = 1e-3) -> None:
        self._rate, self._step = learning_rate, 0
        self._m: list[Any] = [0, 0]
        self._v: list[Any] = [0, 0]

    def update(self, params: list[Array], grads: list[Array]) -> None:
        self._step += 1
        for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
            self._m[index] = 0.9 * self._m[index] + 0.1 * grad
            self._v[index] = 0.999 * self._v[index] + 0.001 * grad * grad
            m_hat = self._m[index] / (1 - 0.9**self._step)
            v_hat = self._v[index] / (1 - 0.999**self._step)
            param += -self._rate * m_hat / (np.sqrt(v_hat) + 1e-8)


class _Conv:
    def __init__(self, side: int, kernel: int, filters: int, rng: np.random.Generator) -> None:
        self._side, self._kernel, self._pad, self._filters = side, kernel, kernel // 2, filters
        self._w, self._b = 0.05 * rng.standard_normal((filters, kernel**2)), 0.05 * rng.standard_normal(filters)
        self._adam = _Adam()

    def _im2col(self, images: Array) -> Array:
        k, s = self._kernel, self._side
        padded = np.pad(images, ((0, 0), (self._pad, self._pad), (self._pad, self._pad)))
        columns = np.empty((len(images), k, k, s, s))
        for i in range(k):
            for j in range(k):
                columns[:, i, j] = padded[:, i : i + s, j : j + s]
        return columns.transpose(1, 2, 0, 3, 4).reshape(k * k, -1)

    def _col2im(self, columns: Array, batch: int) -> Array:
        k, s, p = self._kernel, self._side, self._pad
        columns = columns.reshape(k, k, batch, s, s).transpose(2, 0, 1, 3, 4)
        images = np.zeros((batch, s + 2 * p, s + 2 * p))
        for i in range(k):
            for j in range(k):
                images[:, i : i + s, j : j + s] += columns[:, i, j]
        return images

    def forward(self, x: Array) -> Array:
        self._x, self._batch = self._im2col(x), len(x)
        y = self._w @ self._x + self._b.reshape(-1, 1)
        return y.reshape(self._filters, self._batch, self._side, self._side).transpose(1, 0, 2, 3)

    def backward(self, dy: Array) -> Array:
        dy = dy.transpose(1, 0, 2, 3).reshape(self._filters, -1)
        self._grads = [dy @ self._x.T, np.sum(dy, axis=1)]
        return self._col2im(self._w.T @ dy, self._batch)

    def update(self) -> None:
        self._adam.update([self._w, self._b], self._grads)


class _ReLU:
    def forward(self, x: Array) -> Array:
        self._x = x
        return np.where(x > 0, x, 0)

    def backward(self, dy: Array) -> Array:
        return dy * np.where(self._x > 0, 1, 0)

    def update(self) -> None:
        """Has nothing to learn."""


class _Pool(_ReLU):
    def __init__(self, channels: int, side: int, size: int) -> None:
        self._channels, self._size, self._out = channels, size, side // size

    def forward(self, x: Array) -> Array:
        s, o = self._size, self._out
        columns = np.empty((len(x), self._channels, s, s, o, o))
        for i in range(s):
            for j in range(s):
                columns[:, :, i, j] = x[:, :, i : i + s * o : s, j : j + s * o : s]
        columns = columns.transpose(0, 1, 4, 5, 2, 3).reshape(-1, s * s)
        self._index, self._batch = np.argmax(columns, axis=1), len(x)
        return np.max(columns, axis=1).reshape(len(x), self._channels, o, o)

    def backward(self, dy: Array) -> Array:
        s, o, c, n = self._size, self._out, self._channels, self._batch
        columns = np.zeros((n * c * o * o, s * s))
        columns[np.arange(self._index.size), self._index] = dy.flatten()
        columns = columns.reshape(n, c, o, o, s, s).transpose(0, 1, 4, 5, 2, 3)
        images = np.zeros((n, c, s * o, s * o))
        for i in range(s):
            for j in range(s):
                images[:, :, i : i + s * o : s, j : j + s * o : s] += columns[:, :, i, j]
        return images


class _Dropout(_ReLU):
    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        self._rate, self._rng = rate, rng

    def forward(self, x: Array) -> Array:
        self._mask = self._rng.random(x.shape) >= self._rate
        return x * self._mask

    def backward(self, dy: Array) -> Array:
        return dy * self._mask


class _Dense:
    def __init__(self, inputs: int, units: int, rng: np.random.Generator) -> None:
        spread = np.sqrt(1 / inputs)
        self._w, self._b = spread * rng.standard_normal((units, inputs)), spread * rng.standard_normal(units)
        self._adam = _Adam()

    def forward(self, x: Array) -> Array:
        self._x = x
        return self._w @ x + self._b.reshape(-1, 1)

    def backward(self, dy: Array) -> Array:
        self._grads = [dy @ self._x.T, np.sum(dy, axis=1)]
        return self._w.T @ dy

    def update(self) -> None:
        self._adam.update([self._w, self._b], self._grads)


class ReportNet:
    """Convolution 5×5×32, ReLU, pool 2, dropout 0.4, dense 10, softmax; Adam."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._maps: list[Any] = [_Conv(28, 5, 32, rng), _ReLU(), _Pool(32, 28, 2)]
        self._rows: list[Any] = [_Dropout(0.4, rng), _Dense(14 * 14 * 32, 10, rng)]

    def step(self, images: Array, labels: Array) -> float:
        """Takes one training step and returns its loss. Shape: (B, 28, 28) in 0..1, (B,)"""
        x = images
        for layer in self._maps:
            x = layer.forward(x)
        shape = x.shape
        x = x.reshape(len(x), -1).T
        for layer in self._rows:
            x = layer.forward(x)
        probs = np.exp(x - np.max(x, axis=0)) / np.sum(np.exp(x - np.max(x, axis=0)), axis=0)
        targets = np.array([[float(i == label) for i in range(10)] for label in labels]).T
        loss = float(np.sum(-targets * np.log(probs)) / len(labels))
        dy = (probs - targets) / len(labels)
        for layer in reversed(self._rows):
            dy = layer.backward(dy)
        dy = dy.T.reshape(shape)
        for layer in reversed(self._maps):
            dy = layer.backward(dy)
        for layer in (*self._maps, *self._rows):
            layer.update()
        return loss
