"""How a study went: its trials one after the other, and each over its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweeps.views.pictures.facts import StudyFacts, TrialFacts
from sweeps.views.pictures.scale import Scale, scale_of
from sweeps.views.pictures.style import (
    BEST,
    COMPLETE,
    FAILED,
    GREY,
    PALETTE,
    PRUNED,
    NothingToDraw,
    legend_above,
    new_figure,
    ramp,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_epochs", "draw_history", "metric_scale"]


def metric_scale(facts: StudyFacts, values: Sequence[float]) -> Scale:
    """Returns the scale of what the study's trials are judged by."""
    return scale_of(values, facts.metric_label, is_accuracy="accuracy" in facts.metric)


_CROWD = 60  # so many lines cannot be told apart


@styled
def draw_history(facts: StudyFacts) -> Figure:
    """Draws each trial's value in their order, with the best one so far.

    Raises:
        NothingToDraw: no trial has ended with a value.
    """
    complete, pruned = facts.complete, facts.of("pruned")
    if not complete and not pruned:
        raise NothingToDraw("no trial has ended with a value yet.")
    scale = metric_scale(facts, [trial.value or 0.0 for trial in [*complete, *pruned]])
    figure = new_figure(3.5)
    axes = figure.add_subplot()
    size = 5.5 if len(facts.trials) <= 60 else 4 if len(facts.trials) <= 200 else 2.6
    looks: list[tuple[list[TrialFacts], dict[str, Any]]] = [
        ([t for t in complete if not t.is_baseline], {"marker": "o", "color": COMPLETE, "label": "complete"}),
        (
            [t for t in complete if t.is_baseline],
            {"marker": "D", "color": COMPLETE, "label": "baseline", "markerfacecolor": "white"},
        ),
        (pruned, {"marker": "v", "color": PRUNED, "label": "pruned"}),
    ]
    for trials, look in looks:
        if trials:
            places = scale.place(trial.value or 0.0 for trial in trials)
            axes.plot([t.number for t in trials], places, linestyle="", markersize=size, **look)
    failed = [trial.number for trial in facts.trials if trial.state == "failed"]
    if failed:
        edge = axes.get_xaxis_transform()  # a failed trial has no value: it stands at the foot
        axes.plot(failed, [0.03] * len(failed), "x", color=FAILED, transform=edge, label="failed")
    _best_so_far(axes, facts, scale)
    scale.dress(axes)
    _whole_numbers(axes)
    axes.set_xlabel("trial")
    legend_above(axes)
    return figure


def _best_so_far(axes: Axes, facts: StudyFacts, scale: Scale) -> None:
    """Draws the steps of the best value; the last one goes on to the last trial."""
    better = max if facts.maximise else min
    steps: list[tuple[int, float]] = []
    for trial in facts.complete:
        value = trial.value or 0.0
        steps.append((trial.number, better(value, steps[-1][1]) if steps else value))
    if steps:
        last = max(trial.number for trial in facts.trials)
        steps.append((last, steps[-1][1]))
        numbers, values = zip(*steps, strict=True)
        axes.step(
            numbers,
            scale.place(values),
            where="post",
            color=PALETTE["green"],
            label=_best_label(facts, scale),
            zorder=1.5,
        )


def _best_label(facts: StudyFacts, scale: Scale) -> str:
    best = facts.best
    return "best" if best is None else f"best: {best.name}, {scale.text(best.value or 0.0)}"


@styled
def draw_epochs(facts: StudyFacts) -> Figure:
    """Draws each trial's value after each epoch: the better the darker, pruned ones faded, the best one in black.

    Raises:
        NothingToDraw: no trial has ended an epoch.
    """
    from matplotlib.lines import Line2D

    shown = [trial for trial in facts.trials if trial.curve]
    if not shown:
        raise NothingToDraw("no trial has ended an epoch yet.")
    scale = metric_scale(facts, [value for trial in shown for _, value in trial.curve])
    figure = new_figure(3.7)
    axes = figure.add_subplot()
    ranked = [trial for trial in facts.ranked if trial.curve]
    cut = [trial for trial in shown if trial.state != "complete"]
    is_crowd = len(shown) > _CROWD
    fine = ranked[: max(1, len(ranked) // 10)] if is_crowd else ranked
    colours, least = ramp(), max(1, len(fine) - 1)
    rest, cut_alpha = ranked[len(fine) :], 0.45 if is_crowd else 0.8
    _lines(axes, rest, scale, colors=GREY, linewidths=0.7, alpha=0.3)
    _lines(axes, cut, scale, colors=PRUNED, linewidths=0.9, alpha=cut_alpha)
    ends = [trial.curve[-1] for trial in cut]
    axes.plot(
        [step for step, _ in ends],
        scale.place(value for _, value in ends),
        "v",
        color=PRUNED,
        markersize=2.5 if is_crowd else 4,
        alpha=cut_alpha,
    )
    looks = [colours(rank / least) for rank in range(len(fine))]
    _lines(axes, fine[::-1], scale, colors=looks[::-1], linewidths=1.0 if is_crowd else 1.5)  # the best on top
    points = [(trial.curve[0], look) for trial, look in zip(ranked, looks, strict=False) if len(trial.curve) == 1]
    for (step, value), look in points:  # what is no line
        axes.plot(step, scale.at(value), "o", color=look, markersize=4)
    handles = []
    if ranked:
        steps, values = zip(*ranked[0].curve, strict=True)
        name = f"best: {ranked[0].name}"
        handles += axes.plot(steps, scale.place(values), "-o", color=BEST, markersize=4, lw=2, label=name)
    if len(fine) > 1:
        handles += [Line2D([], [], color=colours(0.1), label="best tenth" if is_crowd else "good")]
        handles += [] if is_crowd else [Line2D([], [], color=colours(0.95), label="poor")]
    if rest:
        handles += [Line2D([], [], color=GREY, lw=0.7, label="others")]
    if cut:
        name = "pruned" if all(trial.state == "pruned" for trial in cut) else "pruned or unfinished"
        handles += [Line2D([], [], color=PRUNED, marker="v", markersize=4, lw=0.9, label=name)]
    axes.autoscale()
    scale.dress(axes)
    _whole_numbers(axes)
    axes.set_xlabel("epoch")
    legend_above(axes, handles)
    return figure


def _lines(axes: Axes, trials: Sequence[TrialFacts], scale: Scale, **look: Any) -> None:
    from matplotlib.collections import LineCollection

    paths = [[(step, scale.at(value)) for step, value in trial.curve] for trial in trials]
    axes.add_collection(LineCollection(paths, **look))


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    low, high = axes.get_xlim()
    if high - low < 1:  # one number: its axis would have fractions for ends
        axes.set_xlim(round((low + high) / 2) - 1, round((low + high) / 2) + 1)
