"""Draws a run's ratios as docs/bench.png."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Results
from benchmarks.steps import StepRow

__all__ = ["draw_picture"]

# Okabe and Ito's blue and vermilion, which differ in lightness too; what is slower also has another shape.
_FASTER, _SLOWER, _INK = "#0072B2", "#D55E00", "#333333"


def draw_picture(results: Results, path: Path) -> None:
    """Draws each named net's ratio with its spread, and the draws in order."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullLocator

    named, draws = results.steps_of("named"), results.steps_of("draw")
    more = {row.net: row for row in results.steps if row.group == "named" and row.threads > 1}
    style = {"font.size": 11, "axes.edgecolor": _INK, "text.color": _INK, "axes.labelcolor": _INK}
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11, 0.42 * max(len(named), 6) + 1.6), width_ratios=(1.25, 1), layout="constrained"
        )
        _draw_named(left, named, more)
        _draw_draws(right, draws)
        everything = [value for row in results.steps for value in (row.ratio.low, row.ratio.high)]
        low, high = min([0.8, *everything]) * 0.93, max([1.6, *everything]) * 1.07
        ticks = [tick for tick in (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8) if low <= tick <= high]
        for axes, axis in ((left, left.xaxis), (right, right.yaxis)):
            (axes.set_xscale if axis is left.xaxis else axes.set_yscale)("log")
            (axes.set_xlim if axis is left.xaxis else axes.set_ylim)(low, high)
            axis.set_ticks(ticks)
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
            axes.grid(axis="x" if axis is left.xaxis else "y", color="#dddddd", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle("A training step: PyTorch's best time over this project's (beyond 1×: faster)", fontsize=12.5)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


def _point(ratio: float) -> dict[str, Any]:
    return {"color": _FASTER, "marker": "o"} if ratio >= 1 else {"color": _SLOWER, "marker": "D"}


def _draw_named(axes: Any, rows: list[StepRow], more: dict[str, StepRow]) -> None:
    for place, row in enumerate(rows):
        shift = 0.16 if more else 0.0
        for shown, offset, fill in ((row, -shift, None), (more.get(row.net), shift, "white")):
            if shown is None:
                continue
            ratio, point = shown.ratio, _point(shown.ratio.middle)
            axes.plot([ratio.low, ratio.high], [place + offset] * 2, color=point["color"], linewidth=2.2, zorder=2)
            axes.plot(
                ratio.middle, place + offset, markersize=7, linestyle="none", markeredgewidth=1.6, zorder=3,
                markerfacecolor=fill or point["color"], markeredgecolor=point["color"], marker=point["marker"],
            )  # fmt: skip
    axes.axvline(1, color=_INK, linewidth=1.4, zorder=1)
    axes.set_yticks(range(len(rows)), [row.net for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    threads = max((row.threads for row in more.values()), default=1)
    kinds = f"filled: one thread, hollow: {threads}; " if more else ""
    axes.set_title(f"Named nets ({kinds}bar: 80 % of rounds)", fontsize=11, loc="left")


def _draw_draws(axes: Any, rows: list[StepRow]) -> None:
    ranked = sorted(rows, key=lambda row: row.ratio.middle)
    for place, row in enumerate(ranked, 1):
        point = _point(row.ratio.middle)
        axes.plot([place, place], [row.ratio.low, row.ratio.high], color=point["color"], linewidth=1.4, alpha=0.6)
        axes.plot(place, row.ratio.middle, markersize=5, linestyle="none", **point)
    axes.axhline(1, color=_INK, linewidth=1.4, zorder=1)
    if ranked:
        middle = float(np.median([row.ratio.middle for row in ranked]))
        faster = sum(row.ratio.middle > 1 for row in ranked)
        axes.axhline(middle, color=_FASTER, linewidth=1.2, linestyle="--", zorder=1)
        title = f"{len(ranked)} draws: {faster} faster, median {middle:.2f}× (dashed)"
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xlabel("nets of the default space, in order")
    else:
        axes.set_title("no draws in this run", fontsize=11, loc="left")
    axes.set_xlim(0, len(ranked) + 1)
