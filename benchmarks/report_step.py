"""Times a training step of the `report` preset against the report's own layers, in turns, in one process, one thread.

OPENBLAS_NUM_THREADS=1 python benchmarks/report_step.py [--steps 60] [--batch-size 100]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np
from report_float64 import ReportNet
from threadpoolctl import threadpool_limits

from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import Network
from mnistnn.presets import preset


def ours(batch_size: int) -> Callable[[np.ndarray, np.ndarray], float]:
    """Returns a step of the preset: forward, loss, backward, Adam."""
    recipe = preset("report")
    network = Network(recipe.network, batch_size=batch_size)
    loss = SoftmaxCrossEntropy(10, batch_size)
    optimizer = recipe.training.optimizer
    state = optimizer.init(network.arena)
    count = 0

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        nonlocal count
        count += 1
        value = loss.forward(network.forward(images, train=True), labels)
        network.backward(loss.backward())
        optimizer.update(state, network.arena, learning_rate=optimizer.learning_rate, step=count)
        return value

    return step


@click.command()
@click.option("--steps", default=60, show_default=True, help="Counted steps of each.")
@click.option("--batch-size", default=100, show_default=True)
def main(steps: int, batch_size: int) -> None:
    """Print ms a step of both, and the ratio pair by pair."""
    threadpool_limits(1)
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (batch_size, 28, 28), dtype=np.uint8), draw.integers(0, 10, batch_size)
    scaled = images / 255.0
    fast, plain = ours(batch_size), ReportNet().step
    seconds = np.empty((steps + 5, 2))
    for row in seconds:
        began = time.perf_counter()
        plain(scaled, labels)
        between = time.perf_counter()
        fast(images, labels)
        row[:] = between - began, time.perf_counter() - between
    seconds = seconds[5:]  # warm
    ratios = seconds[:, 0] / seconds[:, 1]
    for name, column in (("report's layers, float64", 0), ("preset report, float32", 1)):
        low, middle, high = np.quantile(seconds[:, column], (0.1, 0.5, 0.9)) * 1e3
        click.echo(f"{name:26s} {middle:7.2f} ms a step  (10 % to 90 %: {low:.2f} to {high:.2f})")
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    click.echo(f"{'ratio':26s} {middle:7.2f}             (10 % to 90 %: {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
