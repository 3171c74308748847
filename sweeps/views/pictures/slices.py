"""Each parameter by itself against what trials are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweeps.views.pictures.facts import Parameter, StudyFacts, TrialFacts
from sweeps.views.pictures.history import metric_scale
from sweeps.views.pictures.scale import Scale
from sweeps.views.pictures.style import (
    BEST,
    COMPLETE,
    PRUNED,
    SMALL,
    NothingToDraw,
    new_figure,
    plain_log_axis,
    plain_numbers,
    styled,
)
from sweeps.views.pictures.values import Places, places_of, shown_parameters, spelled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_slices"]

_MOST, _LEAST = 16, 4  # parameters; of a few trials no more than there are trials: those tell nothing of a dozen
_COLUMNS = 2
_ROW, _PLOT, _TOP = 1.5, 0.92, 0.92  # inches: from one to the next, its height, what is above all
_LETTERS = 28  # as many as stand side by side below an axis


@styled
def draw_slices(facts: StudyFacts) -> Figure:
    """Draws the trials' values over each parameter's.

    Raises:
        NothingToDraw: fewer than two trials have ended, or they differ in nothing that was searched.
    """
    trials = facts.of("complete", "pruned")
    parameters = shown_parameters(facts, trials, min(_MOST, max(_LEAST, len(trials))))
    if len(trials) < 2 or not parameters:
        raise NothingToDraw("it takes two trials with other parameters each.")
    scale = metric_scale(facts, [trial.value or 0.0 for trial in trials])
    lines = -(-len(parameters) // _COLUMNS)
    columns = min(_COLUMNS, len(parameters))
    height = _TOP + _ROW * lines
    figure = new_figure(height, layout=None)  # all places are known: no time is needed to find them
    grid = figure.subplots(
        lines,
        columns,
        sharey=True,
        squeeze=False,
        gridspec_kw={
            "left": 0.13,
            "right": 0.975,
            "top": 1 - _TOP / height,
            "bottom": (_ROW - _PLOT) / height,
            "hspace": (_ROW - _PLOT) / _PLOT,
            "wspace": 0.1,
        },
    )
    for axes, parameter in zip(grid.flat, parameters, strict=False):
        _slice(axes, facts, trials, places_of(parameter, trials), scale)
    for axes in grid.flat[len(parameters) :]:
        axes.set_visible(False)
    grid[0, 0].margins(y=0.12)
    scale.dress(grid[0, 0], most=4)
    grid[0, 0].set_ylabel("")
    figure.supylabel(facts.metric_label, fontsize=SMALL, x=0.005)
    handles, _ = grid[0, 0].get_legend_handles_labels()
    top = 1 - 0.62 / height
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.12, top), ncols=4, borderaxespad=0.0)
    return figure


def _slice(axes: Axes, facts: StudyFacts, trials: Sequence[TrialFacts], places: Places, scale: Scale) -> None:
    parameter = places.parameter
    shown = [trial for trial in trials if parameter.name in trial.choices]
    if parameter.log:
        shown = [trial for trial in shown if trial.choices[parameter.name] > 0]
    best = facts.best
    is_crowd = len(trials) > 60
    for state, colour, marker in (("complete", COMPLETE, "o"), ("pruned", PRUNED, "v")):
        chosen = [trial for trial in shown if trial.state == state]
        axes.plot(
            [_at(places, trial) for trial in chosen],
            scale.place(trial.value or 0.0 for trial in chosen),
            marker,
            color=colour,
            markersize=2.0 if is_crowd else 4,
            alpha=1.0 if is_crowd else 0.8,
            label=state if chosen or any(trial.state == state for trial in trials) else None,
        )
    if best is not None:
        points = [(_at(places, best), scale.at(best.value or 0.0))] if best in shown else []
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            "o",
            color=BEST,
            markersize=7,
            mfc="none",
            mew=1.6,
            label=f"best: {best.name}",
        )
    _dress(axes, places)
    axes.set_title(parameter.name, fontsize=SMALL, pad=3)
    axes.tick_params(labelsize=SMALL - 1, pad=2)


def _at(places: Places, trial: TrialFacts) -> float:
    """Returns where a trial stands: at its number, or near its choice's place, so that not all lie on one spot."""
    value = trial.choices[places.parameter.name]
    if not places.choices:
        return float(value)
    index = places.at(value) * (len(places.choices) - 1) if len(places.choices) > 1 else 0.0
    return index + (trial.number * 0.618 % 1 - 0.5) * 0.3


def _dress(axes: Axes, places: Places) -> None:
    if places.choices:
        texts = [spelled(value) for value in places.choices]
        is_long = sum(map(len, texts)) + 2 * len(texts) > _LETTERS
        tilt: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        axes.set_xticks(range(len(texts)), texts, **tilt)
        axes.set_xlim(-0.5, len(texts) - 0.5)
        return
    _range(axes, places, places.parameter)


def _range(axes: Axes, places: Places, parameter: Parameter) -> None:
    low, high = places.low, places.high
    if parameter.log:
        axes.set_xscale("log")
        margin = (high / low) ** 0.05 if high > low else 2.0
        axes.set_xlim(low / margin, high * margin)
        plain_log_axis(axes.xaxis, 5)
        return
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    plain_numbers(axes.xaxis, 5)
