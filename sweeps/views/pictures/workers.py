"""Who was at work on which trial, and when."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.views.pictures.facts import Span, StudyFacts
from sweeps.views.pictures.style import (
    COMPLETE,
    FAILED,
    GREY,
    PRUNED,
    SMALL,
    WAITING,
    NothingToDraw,
    legend_above,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_workers", "lanes_of", "without_pauses"]

_LOOKS = {
    "complete": (COMPLETE, ""),
    "pruned": (PRUNED, ""),
    "failed": (FAILED, "xxxx"),
    "stopped": (WAITING, "////"),
    "running": (GREY, "...."),
}
_NAMES = {"stopped": "stopped, resumed later"}
_PAUSE = 0.04  # of the time in all; what is longer is a pause between two runs, and is left out
_LEAST_PAUSE_S = 20.0
_CLOSED = 0.012  # what is left of a pause


@dataclass(frozen=True, slots=True)
class _Bar:
    """An attempt at a trial, on the clock that pauses are left out of."""

    number: int
    attempt: int
    state: str
    start: float
    end: float


@styled
def draw_workers(facts: StudyFacts) -> Figure:
    """Draws each attempt at a trial as a bar, in as many rows as trials were at work at once.

    Raises:
        NothingToDraw: no trial has begun.
    """
    spans = [(trial.number, i, span) for trial in (*facts.trials, *facts.members) for i, span in enumerate(trial.spans)]
    if not spans:
        raise NothingToDraw("no trial has begun yet.")
    spans.sort(key=lambda each: (each[2].start, each[0]))
    moved, pauses, total = without_pauses([span for *_, span in spans])
    bars = [_Bar(number, i, s.state, *at) for (number, i, s), at in zip(spans, moved, strict=True)]
    lanes = lanes_of(moved)
    count = max(lanes) + 1
    unit, name = (3600.0, "hours") if total > 7200 else (60.0, "minutes") if total > 180 else (1.0, "seconds")
    row = 0.5 if count <= 4 else max(0.06, min(0.5, 4.0 / count))
    figure = new_figure(1.35 + row * count)
    axes = figure.add_subplot()
    for state, (colour, hatch) in _LOOKS.items():
        chosen = [(bar, lane) for bar, lane in zip(bars, lanes, strict=True) if bar.state == state]
        if chosen:
            axes.barh(
                [lane + 1 for _, lane in chosen],
                [(bar.end - bar.start) / unit for bar, _ in chosen],
                left=[bar.start / unit for bar, _ in chosen],
                height=0.8,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.3 if len(bars) > 60 else 0.6,
                label=_NAMES.get(state, state),
            )
    for pause in pauses:
        axes.axvline(pause / unit, color="black", lw=1.2, ls=(0, (2, 2)), label="pause" if pause == pauses[0] else None)
    axes.set_xlim(0, max(total, 1e-3) / unit)
    axes.set_ylim(count + 0.5, 0.5)
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=min(count, 8), min_n_ticks=1))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=f"{name} at work" + (", pauses left out" if pauses else ""), ylabel="trials at once")
    share = sum(bar.end - bar.start for bar in bars) / max(count * total, 1e-9)
    axes.set_title(
        f"{len(bars)} attempts at {len({bar.number for bar in bars})} trials; "
        f"rows are full for {100 * min(share, 1.0):.0f} % of the time",
        fontsize=SMALL,
        pad=24,
    )
    legend_above(axes, columns=5)
    _name(figure, bars, lanes, unit)
    return figure


def without_pauses(spans: Sequence[Span]) -> tuple[list[tuple[float, float]], list[float], float]:
    """Moves stretches of time together where nobody worked for long, as between two runs of a study.

    Args:
        spans: by their starts.

    Returns:
        Start and end of each, from 0; where pauses were; how long all took.
    """
    busy: list[list[float]] = []
    for span in spans:
        if busy and span.start <= busy[-1][1]:
            busy[-1][1] = max(busy[-1][1], span.end)
        else:
            busy.append([span.start, span.end])
    worked = sum(end - start for start, end in busy)
    long, closed = max(_LEAST_PAUSE_S, _PAUSE * worked), _CLOSED * worked
    cuts: list[tuple[float, float]] = []  # from when on, and how far everything moves
    pauses: list[float] = []
    for before, after in zip(busy, busy[1:], strict=False):
        if (gap := after[0] - before[1]) > long:
            shift = (cuts[-1][1] if cuts else 0.0) + gap - closed
            cuts.append((after[0], shift))
            pauses.append(after[0] - shift - closed / 2 - busy[0][0])

    def moved(time_s: float) -> float:
        return time_s - busy[0][0] - next((shift for since, shift in reversed(cuts) if time_s >= since), 0.0)

    places = [(moved(span.start), moved(span.end)) for span in spans]
    return places, pauses, max(end for _, end in places)


def lanes_of(places: Sequence[tuple[float, float]]) -> list[int]:
    """Returns a row for each stretch of time, so that none overlaps another and there are as few as can be.

    Args:
        places: starts and ends, by the starts.
    """
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes, count = [], 0
    for start, end in places:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, count = count, count + 1
        lanes.append(lane)
        heapq.heappush(busy, (end, lane))
    return lanes


def _name(figure: Figure, bars: Sequence[_Bar], lanes: Sequence[int], unit: float) -> None:
    """Writes the trials' numbers into the bars that have room for them."""
    axes = figure.axes[0]
    left, right = axes.get_xlim()
    inches = 0.82 * figure.get_figwidth() / (right - left)
    for bar, lane in zip(bars, lanes, strict=True):
        width = (bar.end - bar.start) / unit * inches
        if width < 0.3 or max(lanes) > 8:
            continue
        axes.text(
            (bar.start + bar.end) / 2 / unit,
            lane + 1,
            f"{bar.number}",
            ha="center",
            va="center",
            fontsize=SMALL - 1,
            color="black" if bar.state in ("pruned", "stopped") else "white",
        )
