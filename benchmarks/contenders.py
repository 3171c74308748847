"""What is measured against what: a training step, and an evaluation, of this project, of PyTorch, and of the report.

A step is forward, loss, backward and optimizer, on a batch that lies ready. This project's begins from uint8 pixels, as
its training does, and scales them; PyTorch is given pixels that are scaled and laid out already, and its fastest
optimizer kernel (`fused=True`).
"""

from __future__ import annotations

import functools
import gzip
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from benchmarks.nets import ROOT, Case
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network

__all__ = [
    "FLOAT64",
    "LAYOUTS",
    "OURS",
    "PLAIN",
    "Evaluation",
    "Step",
    "compiled",
    "our_evaluation",
    "our_step",
    "report_step",
    "sample",
    "torch_evaluation",
    "torch_step",
]

Step: TypeAlias = Callable[[int], float]
"""Takes the step of that number, which chooses the batch, and returns its loss."""

Evaluation: TypeAlias = Callable[[], int]
"""Goes through the images once, and returns how many there were."""

OURS, PLAIN, FLOAT64 = "this project", "plain layers", "report, float64"
LAYOUTS = ("PyTorch NCHW", "PyTorch channels_last")


@functools.cache
def sample() -> tuple[np.ndarray, np.ndarray]:
    """Returns the real digits that the repository carries. Shape: (1800, 28, 28) uint8, (1800,) int64."""
    folder = ROOT / "tests" / "data" / "mnist"
    images = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)  # behind the header
    return pixels, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def batches(case: Case, count: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the batches that steps go round and round through: all of the sample, or `count`."""
    images, labels = sample()
    starts = range(0, len(images) - case.batch_size + 1, case.batch_size)[:count]
    return [(images[start : start + case.batch_size], labels[start : start + case.batch_size]) for start in starts]


def our_step(case: Case, *, fused: bool = True, count: int | None = None) -> Step:
    """Returns this project's step, as its Trainer takes it, over `count` batches."""
    network = Network(case.network, batch_size=case.batch_size, seed=1, fused=fused)
    loss = SoftmaxCrossEntropy(network.classes, case.batch_size)
    optimizer, data = case.optimizer, batches(case, count)
    state = optimizer.init(network.arena)

    def step(number: int) -> float:
        images, labels = data[number % len(data)]
        value = loss.forward(network.forward(images, train=True), labels)
        if not math.isfinite(value):
            raise ArithmeticError(f"the loss of {case.name} is {value} in step {number}")
        network.backward(loss.backward())
        optimizer.update(state, network.arena, learning_rate=optimizer.learning_rate, step=number + 1)
        return value

    return step


def our_evaluation(case: Case, *, fused: bool = True) -> Evaluation:
    """Returns a pass over the sample in batches, to logits."""
    network = Network(case.network, batch_size=case.batch_size, seed=1, fused=fused)
    images, _ = sample()

    def evaluation() -> int:
        for start in range(0, len(images), case.batch_size):
            network.forward(images[start : start + case.batch_size])
        return len(images)

    return evaluation


def torch_step(
    case: Case, layout: str, *, wrap: Callable[[Any], Any] = lambda net: net, count: int | None = None
) -> Step:
    """Returns PyTorch's step.

    Args:
        case: the net.
        layout: one of `LAYOUTS`.
        wrap: what is made of the net before it trains, such as `torch.compile`.
        count: how many batches to go through.
    """
    import torch

    from benchmarks.torch_nets import torch_images, torch_network, torch_optimizer

    last = layout == LAYOUTS[1]
    torch.manual_seed(1)
    plain = torch_network(case.network)
    if last:
        plain = plain.to(memory_format=torch.channels_last)
    optimizer = torch_optimizer(case.optimizer, plain)
    loss = torch.nn.CrossEntropyLoss()
    net = wrap(plain.train())
    data = [
        (torch_images(case.network, images, channels_last=last), torch.from_numpy(labels))
        for images, labels in batches(case, count)
    ]

    def step(number: int) -> float:
        images, labels = data[number % len(data)]
        optimizer.zero_grad()
        value = loss(net(images), labels)
        value.backward()
        optimizer.step()
        return float(value.item())

    return step


def compiled(net: Any) -> Any:
    """Returns what `torch.compile` makes of a net; it is compiled at its first call."""
    import torch

    torch._dynamo.reset()  # what was compiled for the net before counts towards a limit of versions
    return torch.compile(net)


def torch_evaluation(case: Case, layout: str) -> Evaluation:
    """Returns the same pass in PyTorch. Larger batches than the net's own make it slower, not faster."""
    import torch

    from benchmarks.torch_nets import torch_images, torch_network

    last = layout == LAYOUTS[1]
    net = torch_network(case.network).eval()
    if last:
        net = net.to(memory_format=torch.channels_last)
    pixels = torch_images(case.network, sample()[0], channels_last=last)
    parts = pixels.split(case.batch_size)

    def evaluation() -> int:
        with torch.inference_mode():
            for part in parts:
                net(part)
        return len(pixels)

    return evaluation


def report_step(case: Case) -> Step:
    """Returns the step of the report's own layers in float64, for the net of that name."""
    from benchmarks.report_float64 import ReportNet

    net = ReportNet()
    data = [(images / 255.0, labels) for images, labels in batches(case)]
    return lambda number: net.step(*data[number % len(data)])
