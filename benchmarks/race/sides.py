"""The two sides of a race: the same training with this network, and with PyTorch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.race.settings import Settings
from mnistnn.data.checks import PIXELS
from mnistnn.layers.max_pool2d import MaxPool2DSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import NetworkSpec
from mnistnn.training import evaluate
from mnistnn.types import UInt8s

__all__ = ["Layout", "NumPySide", "Side", "TorchSide", "laps", "make_side", "pool_first", "warm_up"]


class Side(Protocol):
    """One side. What it holds of the training images was made ready before the clock runs."""

    detail: str

    def begin(self, seed: int) -> None:
        """Takes the seed's first weights, and an optimizer that remembers nothing."""

    def step(self, chosen: NDArray[np.int64], rate: float, step: int) -> None:
        """Learns from the images `chosen`; `step` counts from 1."""

    def accuracy(self, images: UInt8s, labels: UInt8s) -> float:
        """Returns the share of images that are told right."""


class NumPySide:
    """This network.

    Args:
        settings: the training.
        images: (N, 28, 28), labels: (N,): the images to learn from.
    """

    def __init__(self, settings: Settings, images: UInt8s, labels: UInt8s) -> None:
        self.detail = f"NumPy {np.__version__}"
        self._settings = settings
        rows = settings.batch_size
        self._images = np.ascontiguousarray(images).reshape(-1, PIXELS)  # (N, 784)
        self._labels = labels.astype(np.int64)
        self._batch = np.empty((rows, PIXELS), np.uint8)
        self._batch_labels = np.empty(rows, np.int64)
        self._loss = SoftmaxCrossEntropy(10, rows)
        self.begin(0)

    def begin(self, seed: int) -> None:
        self.network = self._settings.first_network(seed, batch_size=self._settings.batch_size)
        self._state = self._settings.optimizer.init(self.network.arena)

    def step(self, chosen: NDArray[np.int64], rate: float, step: int) -> None:
        # Indices are in range; with any other mode `out` would be filled by way of a copy.
        np.take(self._images, chosen, axis=0, out=self._batch, mode="clip")
        np.take(self._labels, chosen, out=self._batch_labels, mode="clip")
        logits = self.network.forward(self._batch.reshape(-1, 28, 28), train=True)
        self._loss.forward(logits, self._batch_labels)
        self.network.backward(self._loss.backward())
        self._settings.optimizer.update(self._state, self.network.arena, learning_rate=rate, step=step)

    def accuracy(self, images: UInt8s, labels: UInt8s) -> float:
        return evaluate(self.network, images, labels.astype(np.int64))[1]


@dataclass(frozen=True, slots=True)
class Layout:
    """How PyTorch lays out its maps in memory."""

    channels_last: bool

    def __str__(self) -> str:
        return "channels_last" if self.channels_last else "NCHW"


class TorchSide:
    """The same network in PyTorch: eager, with the fused Adam, in the layout that is faster here.

    Args:
        settings: the training.
        images: (N, 28, 28), labels: (N,): the images to learn from; they are scaled here, once.
        layouts: those to choose from, by the time of some steps.
    """

    def __init__(
        self,
        settings: Settings,
        images: UInt8s,
        labels: UInt8s,
        layouts: Sequence[Layout] = (Layout(False), Layout(True)),
    ) -> None:
        import torch

        from benchmarks.torch_nets import torch_images

        self._torch: Any = torch
        self._settings = settings
        self._spec = pool_first(settings.network)
        self._images = torch_images(settings.network, np.array(images))  # (N, 1, 28, 28)
        self._labels = torch.from_numpy(labels.astype(np.int64))
        self._loss = torch.nn.CrossEntropyLoss()
        self._layout = layouts[0]
        if len(layouts) > 1:
            self._layout = min(layouts, key=self._step_ms)
        self.detail = f"{torch.__version__.partition('+')[0]}, {self._layout}"
        self.begin(0)

    def begin(self, seed: int) -> None:
        from benchmarks.torch_nets import copy_params, torch_network

        torch, adam = self._torch, self._settings.optimizer
        network: Any = torch_network(self._spec)
        copy_params(self._settings.first_network(seed), network)
        if self._layout.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.network = network
        self._optimizer = torch.optim.Adam(
            network.parameters(), lr=adam.learning_rate, betas=(adam.beta1, adam.beta2), eps=adam.eps, fused=True
        )

    def step(self, chosen: NDArray[np.int64], rate: float, step: int) -> None:
        rows = self._torch.from_numpy(chosen)
        images, labels = self._images[rows], self._labels[rows]
        self._optimizer.zero_grad()
        self._loss(self.network(images), labels).backward()
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()

    def accuracy(self, images: UInt8s, labels: UInt8s) -> float:
        from benchmarks.torch_nets import torch_images

        torch, rows = self._torch, self._settings.batch_size
        self.network.eval()
        with torch.inference_mode():
            pixels: Any = torch_images(self._settings.network, np.array(images))
            guesses = torch.cat([self.network(part).argmax(1) for part in pixels.split(rows)])
        self.network.train()
        return float(np.mean(guesses.numpy() == labels))

    def _step_ms(self, layout: Layout) -> float:
        self._layout = layout
        return warm_up(self, self._settings, len(self._labels))


def pool_first(spec: NetworkSpec) -> NetworkSpec:
    """Returns the same function with each max pool before its ReLU, which is then a quarter of the work."""
    layers = list(spec.layers)
    for place, pair in enumerate(zip(layers, layers[1:], strict=False)):
        if isinstance(pair[0], ReLUSpec) and isinstance(pair[1], MaxPool2DSpec):
            layers[place : place + 2] = pair[::-1]
    return NetworkSpec(tuple(layers))


def laps(side: Side, settings: Settings, seed: int, images: int, *, every: int) -> Iterator[tuple[int, float]]:
    """Trains a side from the seed's first weights, and yields (steps done, seconds) after each `every` steps.

    The seconds are those of the steps alone: gathering the batch, forward, loss, backward and optimizer. The clock
    stands still while the caller does something.
    """
    side.begin(seed)
    plan = list(zip(settings.order(images, seed), settings.rates(), strict=True))
    done, seconds = 0, 0.0
    while done < len(plan):
        began = time.perf_counter()
        for chosen, rate in plan[done : done + every]:
            done += 1
            side.step(chosen, rate, done)
        seconds += time.perf_counter() - began
        yield done, seconds


def warm_up(side: Side, settings: Settings, images: int, *, steps: int = 15) -> float:
    """Trains some steps that do not count, and returns the milliseconds of one of the later ones."""
    short = replace(settings, steps=steps)
    seconds = np.diff([seconds for _, seconds in laps(side, short, 0, images, every=1)])
    side.begin(0)
    return float(np.median(seconds[steps // 3 :])) * 1e3


def make_side(name: str, settings: Settings, images: UInt8s, labels: UInt8s) -> Side:
    """Returns the side called `name`, numpy or torch."""
    sides: dict[str, type[NumPySide] | type[TorchSide]] = {"numpy": NumPySide, "torch": TorchSide}
    return sides[name](settings, images, labels)
