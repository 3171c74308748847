"""What accuracy costs: in numbers that are trained, and in seconds of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sweeps.views.pictures.facts import StudyFacts, TrialFacts
from sweeps.views.pictures.scale import Scale, scale_of
from sweeps.views.pictures.style import (
    COMPLETE,
    PALETTE,
    SMALL,
    NothingToDraw,
    legend_above,
    new_figure,
    plain_log_axis,
    plain_numbers,
    spread,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_cost", "pareto_front"]

Look: TypeAlias = dict[str, Any]

_FRONT = PALETTE["vermillion"]
_WIDE = 6.0  # how many times the cheapest the dearest must be for an axis to be logarithmic
_NAMED = 6  # members of a front that are named
_APART = 0.11  # of the axes' width: names that are closer would touch


@styled
def draw_cost(facts: StudyFacts) -> Figure:
    """Draws the complete trials' validation accuracy against params and seconds, with the Pareto fronts.

    Raises:
        NothingToDraw: no complete trial is known with its accuracy and costs.
    """
    known = [t for t in facts.trials if t.state == "complete" and None not in (t.val_accuracy, t.params, t.seconds)]
    if not known:
        raise NothingToDraw("no trial is complete yet.")
    scale = scale_of([t.val_accuracy or 0.0 for t in known], "validation accuracy", is_accuracy=True)
    figure = new_figure(6.0)
    upper, lower = figure.subplots(2, 1, sharey=True)
    _scatter(upper, known, [float(trial.params or 0) for trial in known], scale)
    _scatter(lower, known, [trial.seconds or 0.0 for trial in known], scale)
    for axes, label in ((upper, "trained parameters"), (lower, "seconds of training")):
        axes.margins(x=0.08, y=0.14)
        scale.dress(axes)
        axes.set_xlabel(label)
        (plain_log_axis if axes.get_xscale() == "log" else plain_numbers)(axes.xaxis)
    for axes, costs in ((upper, [float(t.params or 0) for t in known]), (lower, [t.seconds or 0.0 for t in known])):
        _name(axes, known, costs, scale)
    legend_above(upper)
    return figure


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns which points no other is better than: none costs as little and is worth as much. By rising cost.

    Args:
        points: what each costs and is worth.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _scatter(axes: Axes, trials: Sequence[TrialFacts], costs: Sequence[float], scale: Scale) -> None:
    places = scale.place(trial.val_accuracy or 0.0 for trial in trials)
    few = len(trials) <= 60
    size = 5.5 if few else 3.2
    for is_baseline, look in (
        (False, Look(label="complete", marker="o", alpha=0.75 if few else 0.5, markersize=size)),
        (True, Look(label="baseline", marker="D", markerfacecolor="white", markersize=size + 1)),
    ):
        chosen = [i for i, trial in enumerate(trials) if trial.is_baseline == is_baseline]
        if chosen:
            axes.plot([costs[i] for i in chosen], [places[i] for i in chosen], linestyle="", color=COMPLETE, **look)
    front = _front(trials, costs)
    steps: Look = {"drawstyle": "steps-post", "marker": "s", "markersize": size + 2, "markerfacecolor": "none"}
    axes.plot([costs[i] for i in front], [places[i] for i in front], color=_FRONT, label="Pareto front", **steps)
    if spread(costs) > _WIDE and min(costs) > 0:
        axes.set_xscale("log")


def _front(trials: Sequence[TrialFacts], costs: Sequence[float]) -> list[int]:
    return pareto_front([(cost, t.val_accuracy or 0.0) for cost, t in zip(costs, trials, strict=True)])


def _name(axes: Axes, trials: Sequence[TrialFacts], costs: Sequence[float], scale: Scale) -> None:
    """Writes the numbers of the front's trials above them, the most accurate first, as far as there is room."""
    to_axes = axes.transData + axes.transAxes.inverted()
    taken: list[float] = []
    for i in reversed(_front(trials, costs)):
        point = (costs[i], scale.at(trials[i].val_accuracy or 0.0))
        x = float(to_axes.transform(point)[0])
        if len(taken) < _NAMED and all(abs(x - other) > _APART for other in taken):
            taken.append(x)
            place: Look = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "va": "bottom"}
            axes.annotate(trials[i].name, point, fontsize=SMALL, color=_FRONT, **place)
