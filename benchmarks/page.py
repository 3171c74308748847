"""Writes a run's results as docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmarks.contenders import FLOAT64, LAYOUTS, OURS, PLAIN
from benchmarks.goals import goals
from benchmarks.measure import Spread
from benchmarks.results import Environment, Results
from benchmarks.steps import COMPILED

__all__ = ["BY_HAND", "PICTURE", "environment_rows", "page", "table"]

PICTURE = "bench.png"
BY_HAND = "<!-- What stands below is written by hand, and kept when this page is written again. -->"

_INTRO = """\
# Benchmarks

A training step of this project against the same step in PyTorch, and what else the speed of a sweep hangs on.

```
{command}
```

| | |
|---|---|
{environment}

Contenders take turns, in one process and one run, each a few steps at a time, and another begins each round. A ratio
is PyTorch's time over this project's in the same round; shown are the median of the rounds ({rounds} a named net, half
as many a draw) and, in brackets, the middle 80 % of them. Of PyTorch's variants the one with the least median counts:
NCHW, channels_last, and for named nets what `torch.compile` makes of the better of the two. A step is forward, loss,
backward and optimizer: this project's begins from uint8 pixels, PyTorch gets them as scaled floats that are laid out
already, and updates with its `fused=True` kernel. The nets are those of the presets, and `three`: three blocks of two
3×3 convolutions with 16, 32 and 64 filters. `-norm` and `-plain` are the same with or without batch norm. `draw-01` and
on are drawn at random from the space of `studies/default.toml`, with their own batch size and optimizer. Images are the
sample of MNIST that the repository carries.

![ratios]({picture})
"""


def page(results: Results, by_hand: str = "") -> str:
    """Returns the page; `by_hand` is what an earlier one had below its line."""
    known = results.environment
    peaks = (f"{peak / 1e9:.1f} GFLOP/s on {_threads(count)}" for count, peak in sorted(results.peaks.items()))
    environment = environment_rows(known, {"commit": known.commit, "sgemm peak": ", ".join(peaks)})
    parts = [
        _INTRO.format(command=known.command, environment=environment, rounds=results.rounds, picture=PICTURE),
        *(["This was a quick run: few rounds, few nets. Its figures are rough.\n"] if results.quick else []),
        *_goals(results),
        *_steps(results),
        *_draws(results),
        *_inference(results),
        *_memory(results),
        *_rest(results),
        BY_HAND + "\n",
    ]
    return "\n".join(parts) + by_hand


def environment_rows(known: Environment, more: Mapping[str, str], *, processes: str = "") -> str:
    """Returns the rows of a table: on what a run was made, and `more` of it, without what is empty."""
    rows = {
        "processor": f"{known.cpu}; {known.cores} cores{processes}",
        "system": f"{known.system}, Python {known.python}",
        "NumPy": f"{known.numpy}, {known.blas}",
        "PyTorch": known.torch,
        **more,
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _times(ratio: Spread) -> str:
    return f"{ratio.middle:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def _parts(ratio: Spread) -> str:
    return f"{100 * ratio.middle:.2g} % ({100 * ratio.low:.2g}–{100 * ratio.high:.2g})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, first: str = "---") -> str:
    """Returns a table of figures, and of text in the column whose ruler is `first`."""
    ruler = [first] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ruler, *rows]) + "\n"


def _goals(results: Results) -> Iterator[str]:
    if found := goals(results):
        missed = sum(not goal.reached for goal in found)
        yield f"## What was to be reached\n\n{len(found) - missed} of {len(found)}, on one thread.\n"
        rows = [[goal.what, goal.wanted, goal.figure, "yes" if goal.reached else "**no**"] for goal in found]
        yield table(["what", "wanted", "measured", "reached"], rows)


def _steps(results: Results) -> Iterator[str]:
    for count in sorted({row.threads for row in results.steps if row.group == "named"}):
        found = results.steps_of("named", count)
        yield f"## A training step, {_threads(count)}\n\nMilliseconds, medians.\n"
        columns = [OURS, PLAIN, *LAYOUTS, COMPILED]
        peak = results.peaks[count]
        rows = []
        for row in found:
            times = [f"{row.ms[name].middle:.2f}" if name in row.ms else "–" for name in columns]
            achieved = [f"{row.flop_per_s / 1e9:.1f}", f"{row.flop_per_s / peak:.0%}"]
            rows.append([f"`{row.net}`", *times, _times(row.ratio), *achieved])
        yield table(["net", *columns, "ratio", "GFLOP/s", "of peak"], rows)
        yield from (
            f"The report's own layers, in float64, take {row.ms[FLOAT64].middle:.1f} ms for `{row.net}`: "
            f"{_times(row.others[FLOAT64])} times as long.\n"
            for row in found
            if FLOAT64 in row.ms
        )
        if notes := {f"`{row.net}`: {row.note}" for row in found if row.note}:
            yield "Not measured: " + "; ".join(sorted(notes)) + ".\n"


def _draws(results: Results) -> Iterator[str]:
    draws = results.steps_of("draw")
    if not draws:
        return
    ratios = np.array([row.ratio.middle for row in draws])
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    yield f"## {len(draws)} draws from the default space, one thread\n"
    yield (
        f"Median ratio {middle:.2f}, middle 80 % of the nets {low:.2f} to {high:.2f}, least {ratios.min():.2f}, most "
        f"{ratios.max():.2f}; {int((ratios > 1).sum())} of {len(draws)} faster than PyTorch's better layout. They are "
        "not compiled for PyTorch: that takes longer than their turns.\n"
    )
    slowest = sorted(draws, key=lambda row: row.ratio.middle)[:5]
    rows = [
        [f"`{row.net}`", str(row.batch_size), f"{row.ms[OURS].middle:.2f}", f"{row.ms[row.best].middle:.2f}"]
        + [_times(row.ratio)]
        for row in slowest
    ]
    yield "Those that gain least:\n"
    yield table(["net", "batch", f"{OURS}, ms", "PyTorch, ms", "ratio"], rows)


def _inference(results: Results) -> Iterator[str]:
    for count in sorted({row.threads for row in results.inference}):
        yield f"## Inference, {_threads(count)}\n\nImages a second, medians, in batches of 100.\n"
        columns = [OURS, *LAYOUTS]
        rows = [
            [f"`{row.net}`", *(f"{row.images_per_s[name].middle:,.0f}" for name in columns), _times(row.ratio)]
            for row in results.inference
            if row.threads == count
        ]
        yield table(["net", *columns, "ratio"], rows)


def _memory(results: Results) -> Iterator[str]:
    if not results.memory:
        return
    yield (
        "## Peak memory\n\nMB resident while a net trains, one thread, each in a process of its own: above what the "
        "process had before the net was built, and in brackets all of it.\n"
    )
    columns = [OURS, *LAYOUTS]
    rows = [
        [f"`{row.net}`", *(f"{row.peaks[name].training_mb:.1f} ({row.peaks[name].process_mb:.0f})" for name in columns)]
        for row in results.memory
    ]
    yield table(["net", *columns], rows)


def _rest(results: Results) -> Iterator[str]:
    if found := results.workers:
        yield (
            f"## Two workers\n\nTwo processes train `{found.net}` {_times(found.train_gain)} times as fast as one; two "
            f"that only multiply matrices gain {_times(found.sgemm_gain)}. The first over the second: "
            f"{_times(found.share)}.\n"
        )
    if results.shares:
        yield (
            "## What is not the network\n\nEpochs of MNIST's proportions, 50,000 images to train on and 10,000 to "
            "validate on, with the preset's own augmentation.\n"
        )
        rows = [[f"`{row.net}`", _parts(row.data), _parts(row.validation)] for row in results.shares]
        yield table(["net", "batching and augmentation, of a step", "validation, of an epoch"], rows)
