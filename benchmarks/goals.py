"""What the benchmarks are to show, each with what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.contenders import FLOAT64, OURS
from benchmarks.results import Results

__all__ = ["Goal", "goals"]

_STEPS = {"report": 3.0, "conv2": 1.5, "three": 1.2, "three-norm": 1.2, "mlp3": 1.5, "small": 1.25}
_INFERENCE = {"report": 2.0, "conv2": 1.2}
_DRAWS_FASTER = 0.9
_PAGE_MB = 0.004


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One of them. `figure` and `wanted` are texts to show, `reached` says whether the first is good enough."""

    what: str
    wanted: str
    figure: str
    reached: bool


def goals(results: Results) -> list[Goal]:
    """Returns those about which the results, with one thread, say something."""
    found: list[Goal] = []
    for part in (_steps, _draws, _inference, _memory, _rest):
        found += part(results)
    return found


def _at_least(what: str, value: float, wanted: float, show: Callable[[float], str]) -> Goal:
    return Goal(what=what, wanted=f"≥ {show(wanted)}", figure=show(value), reached=value >= wanted)


def _at_most(what: str, value: float, wanted: float, show: Callable[[float], str]) -> Goal:
    return Goal(what=what, wanted=f"≤ {show(wanted)}", figure=show(value), reached=value <= wanted)


def _times(value: float) -> str:
    return f"{value:.2f}×"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _steps(results: Results) -> Iterator[Goal]:
    for net, wanted in _STEPS.items():
        if row := results.step(net):
            yield _at_least(f"step of `{net}` over PyTorch's best", row.ratio.middle, wanted, _times)
    if (row := results.step("report")) and FLOAT64 in row.others:
        yield _at_least("step of `report` over the report's own, float64", row.others[FLOAT64].middle, 10.0, _times)
    if (row := results.step("conv2")) and 1 in results.peaks:
        yield _at_least("`conv2`, part of the sgemm peak", row.flop_per_s / results.peaks[1], 0.55, _percent)


def _draws(results: Results) -> Iterator[Goal]:
    if draws := results.steps_of("draw"):
        ratios = np.array([row.ratio.middle for row in draws])
        yield _at_least(f"median of the {len(draws)} draws over PyTorch's best", float(np.median(ratios)), 1.3, _times)
        faster, wanted = int((ratios > 1).sum()), math.ceil(_DRAWS_FASTER * len(draws))
        yield _at_least(f"of the {len(draws)} draws, faster than PyTorch", faster, wanted, lambda value: f"{value:.0f}")


def _inference(results: Results) -> Iterator[Goal]:
    for row in results.inference:
        if row.threads == 1 and row.net in _INFERENCE:
            what = f"inference of `{row.net}` over PyTorch's best"
            yield _at_least(what, row.ratio.middle, _INFERENCE[row.net], _times)


def _memory(results: Results) -> Iterator[Goal]:
    if results.memory:
        # A net that takes less than a page's worth fits into what a process has anyway.
        parts = {
            row.net: row.peaks[OURS].training_mb / max(row.peaks[row.best].training_mb, _PAGE_MB)
            for row in results.memory
        }
        worst = max(parts, key=lambda net: parts[net])
        yield _at_most(f"peak memory over PyTorch's least, worst net (`{worst}`)", parts[worst], 1.0, _times)


def _rest(results: Results) -> Iterator[Goal]:
    if results.workers:
        yield _at_least("gain of a second worker over that of bare sgemm", results.workers.share.middle, 0.95, _times)
    for row in results.shares:
        yield _at_most(f"`{row.net}`: batching and augmentation, of a step", row.data.middle, 0.03, _percent)
        yield _at_most(f"`{row.net}`: validation, of an epoch", row.validation.middle, 0.08, _percent)
