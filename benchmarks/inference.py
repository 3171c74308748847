"""Images a second through one net that does not learn, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.contenders import LAYOUTS, OURS, our_evaluation, sample, torch_evaluation
from benchmarks.measure import Spread, alternate, ratio, spread
from benchmarks.nets import Case

__all__ = ["InferenceRow", "measure_inference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceRow:
    """What was measured of one net.

    Attributes:
        net: its name.
        threads: how many each contender could use.
        batch_size: images at a time.
        images_per_s: by contender.
        best: PyTorch's faster variant, by its median.
        ratio: that variant's time over this project's, round by round.
    """

    net: str
    threads: int
    batch_size: int
    images_per_s: dict[str, Spread]
    best: str
    ratio: Spread


def measure_inference(case: Case, *, threads: int, rounds: int) -> InferenceRow:
    """Measures a net over the sample's images; the threads are limited already."""
    passes = {OURS: our_evaluation(case)} | {layout: torch_evaluation(case, layout) for layout in LAYOUTS}
    seconds = alternate({name: lambda _, run=run: run() for name, run in passes.items()}, rounds)
    best = min(LAYOUTS, key=lambda name: float(np.median(seconds[name])))
    return InferenceRow(
        net=case.name,
        threads=threads,
        batch_size=case.batch_size,
        images_per_s={name: spread(len(sample()[0]) / values) for name, values in seconds.items()},
        best=best,
        ratio=ratio(seconds[best], seconds[OURS]),
    )
