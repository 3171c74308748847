"""The named nets, whole and by the parts of their fast plan.

python -m pytest benchmarks/bench_nets.py
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contenders import our_evaluation, our_step
from benchmarks.nets import NAMES, named_case
from mnistnn.layer import Layer
from mnistnn.network import Network


def fused_parts() -> Iterator[tuple[str, int]]:
    """Yields each part of a net's plan that is not one of its layers, with its place in the plan."""
    for name in NAMES:
        network = Network(named_case(name).network, batch_size=1, initialise=False)
        plain = set(network.layers.values())
        yield from ((name, place) for place, part in enumerate(network.plan) if part not in plain)


ROUNDS = 15
PARTS = list(fused_parts())
IDS = [f"{name}-{place}" for name, place in PARTS]


def part_at(name: str, place: int) -> tuple[Layer, np.ndarray]:
    """Returns a part of a plan, with a batch of what comes to it."""
    case = named_case(name)
    network = Network(case.network, batch_size=case.batch_size, seed=1)
    x = np.random.default_rng(1).integers(0, 256, (case.batch_size, 28, 28), dtype=np.uint8)
    for before in network.plan[:place]:
        x = before.forward(x, train=True)
    return network.plan[place], x


@pytest.mark.benchmark(group="fused, forward")
@pytest.mark.parametrize(("name", "place"), PARTS, ids=IDS)
def test_fused_forward(benchmark: BenchmarkFixture, name: str, place: int) -> None:
    part, x = part_at(name, place)
    benchmark.extra_info["part"] = type(part).__name__
    assert benchmark(part.forward, x, train=True).shape == (len(x), *part.out_shape)


@pytest.mark.benchmark(group="fused, backward")
@pytest.mark.parametrize(("name", "place"), PARTS, ids=IDS)
def test_fused_backward(benchmark: BenchmarkFixture, name: str, place: int) -> None:
    part, x = part_at(name, place)
    benchmark.extra_info["part"] = type(part).__name__
    dy = np.random.default_rng(2).standard_normal((len(x), *part.out_shape)).astype(np.float32)
    spent = np.empty_like(dy)

    def forward() -> tuple[tuple[np.ndarray], dict[str, object]]:
        part.forward(x, train=True)  # each before its own backward pass, which may spend what it kept
        np.copyto(spent, dy)
        return (spent,), {}

    benchmark.pedantic(part.backward, setup=forward, rounds=ROUNDS, warmup_rounds=2)


@pytest.mark.benchmark(group="net, training step")
@pytest.mark.parametrize("name", NAMES)
def test_step(benchmark: BenchmarkFixture, name: str) -> None:
    step, numbers = our_step(named_case(name)), iter(range(1_000_000))
    assert benchmark(lambda: step(next(numbers))) > 0


@pytest.mark.benchmark(group="net, evaluation of 1,800 images")
@pytest.mark.parametrize("name", NAMES)
def test_evaluation(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(our_evaluation(named_case(name))) == 1800
