"""What the searched parameters have to do with how good a trial is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import optuna
from optuna.trial import TrialState, create_trial

from sweeps.views.pictures.facts import Parameter, StudyFacts, TrialFacts
from sweeps.views.pictures.history import metric_scale
from sweeps.views.pictures.style import (
    BEST,
    COMPLETE,
    GREY,
    SMALL,
    NothingToDraw,
    new_figure,
    ramp,
    spread,
    styled,
)
from sweeps.views.pictures.values import Places, places_of, shown_parameters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_importances", "draw_parallel", "importances"]

#: Fewer trials say too little about a dozen parameters.
LEAST_TRIALS = 15
_LEAST_GOOD = 5  # what PED-ANOVA's own notes ask for
_GOOD = 0.1

_MOST_ROWS = 20
_CROWD = 60
_OTHERS, _FINE = 60, 30  # lines; more of them show no more
_ROW = 0.5  # inches
_SHORT = 4  # letters that do not reach over the edge
_NOT_ASKED = -0.06  # the place of a trial that has no such parameter


def importances(facts: StudyFacts) -> tuple[dict[str, float], list[str], float]:
    """Returns how much each parameter sets the good trials apart from all, the most first, by PED-ANOVA.

    It asks which parameters' values differ between the best trials and all of them, so a pruned trial counts as what
    it is: not one of the best. Trials with values beside the space (baselines) tell nothing about the space.
    Source: Watanabe, Bansal and Hutter 2023.

    Returns:
        Each one's share; the names of those that not all trials have, which cannot be compared; the share of trials
        that were taken for good.

    Raises:
        NothingToDraw: there are too few trials.
    """
    trials = [trial for trial in facts.of("complete", "pruned") if trial.is_free]
    if len(trials) < LEAST_TRIALS or len([trial for trial in trials if trial.state == "complete"]) < _LEAST_GOOD:
        raise NothingToDraw(
            f"it takes {LEAST_TRIALS} trials whose parameters were drawn, and there are {len(trials)} so far."
        )
    common: list[Parameter] = []
    others: list[Parameter] = []
    for parameter in facts.parameters:
        is_common = all(parameter.name in trial.choices for trial in trials)
        (common if is_common and parameter.distribution is not None else others).append(parameter)
    if len(common) < 2:
        raise NothingToDraw("fewer than two parameters are common to all trials.")
    good = max(_GOOD, _LEAST_GOOD / len(trials))
    study = _as_study(facts, trials, common)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=good)
    names = [parameter.name for parameter in common]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that few trials have
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    return dict(shares), [parameter.name for parameter in others], good


def _as_study(facts: StudyFacts, trials: Sequence[TrialFacts], common: Sequence[Parameter]) -> optuna.Study:
    """Returns a study in memory of what is common to the trials, in which a pruned one is worse than any other."""
    values = [trial.value or 0.0 for trial in trials]
    worst = min(values) - 1 if facts.maximise else max(values) + 1
    study = optuna.create_study(direction="maximize" if facts.maximise else "minimize")
    distributions = {each.name: each.distribution for each in common if each.distribution is not None}
    study.add_trials(
        create_trial(
            state=TrialState.COMPLETE,
            value=value if trial.state == "complete" else worst,
            params={name: trial.choices[name] for name in distributions},
            distributions=distributions,
        )
        for trial, value in zip(trials, values, strict=True)
    )
    return study


@styled
def draw_importances(facts: StudyFacts) -> Figure:
    """Draws how much each parameter sets the best trials apart.

    Raises:
        NothingToDraw: there are too few trials.
    """
    shares, others, good = importances(facts)
    names = list(shares)[::-1]
    notes = _wrapped("not common to all trials: " + ", ".join(others)) if others else []
    figure = new_figure(1.2 + 0.27 * len(names) + 0.2 * len(notes))
    axes = figure.add_subplot()
    axes.barh(names, [100 * shares[name] for name in names], color=COMPLETE, height=0.65)
    most = max(shares.values(), default=1.0) or 1.0
    for row, name in enumerate(names):
        axes.text(100 * (shares[name] + 0.012 * most), row, _percent(shares[name]), va="center", fontsize=SMALL)
    axes.set_xlim(0, 109 * most)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines.left.set_visible(False)
    label = f"share of what sets the best {100 * good:.0f} % of trials apart, %"
    axes.set_xlabel("\n".join([label, *notes]), fontsize=SMALL, loc="left")
    return figure


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.005 else "< 1"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 70)


@styled
def draw_parallel(facts: StudyFacts) -> Figure:
    """Draws a line a trial through its parameters' values; axes lie on their sides, so that all labels can be read.

    Raises:
        NothingToDraw: fewer than two trials are complete, or they differ in nothing that was searched.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    trials = facts.ranked
    parameters = shown_parameters(facts, trials, _MOST_ROWS)
    if len(trials) < 2 or not parameters:
        raise NothingToDraw("it takes two complete trials with other parameters each.")
    rows = [places_of(parameter, trials) for parameter in parameters]
    values = [trial.value or 0.0 for trial in trials]
    scale = metric_scale(facts, values)
    judged = Parameter(facts.metric_label, log=spread(values) > 6 and min(values) > 0)
    rows.insert(0, Places(judged, low=min(values), high=max(values)))

    figure = new_figure(0.75 + _ROW * len(rows), layout=None)
    height = figure.get_figheight()
    left = 0.035 + 0.0145 * max(len(row.parameter.name) for row in rows)
    axes = figure.add_axes((left, 0.3 / height, 0.965 - left, 1 - 0.95 / height))
    axes.set(xlim=(_NOT_ASKED - 0.02, 1.02), ylim=(-len(rows) + 0.55, 0.35))
    axes.axis("off")

    is_crowd = len(trials) > _CROWD
    fine = min(_FINE, max(1, len(trials) // 10)) if is_crowd else len(trials)
    rest = trials[fine :: -(-(len(trials) - fine) // _OTHERS) or 1]
    colours = ramp()
    looks = [colours(rank / max(1, fine - 1)) for rank in range(fine)]
    good = [_path(rows, trial) for trial in trials[:fine]]
    axes.add_collection(LineCollection([_path(rows, trial) for trial in rest], colors=GREY, linewidths=0.5, alpha=0.3))
    axes.add_collection(LineCollection(good[::-1], colors=looks[::-1], linewidths=1.1))
    x, y = zip(*good[0], strict=True)
    axes.plot(x, y, "-o", color=BEST, lw=2, markersize=3.5)
    for depth, row in enumerate(rows):
        misses = depth > 0 and any(row.parameter.name not in trial.choices for trial in trials)
        ticks = row.ticks if depth else [(rows[0].at(mark), scale.text(mark)) for mark in _marks(rows[0])]
        _row(axes, depth, row, ticks, misses=misses)
    handles = [Line2D([], [], color=BEST, marker="o", lw=2, markersize=3.5, label=f"best: {trials[0].name}")]
    handles += [Line2D([], [], color=colours(0.1), label=f"best {fine}" if is_crowd else "good")]
    if is_crowd:
        name = "others" if len(rest) == len(trials) - fine else f"{len(rest)} of the others"
        handles += [Line2D([], [], color=GREY, lw=0.7, label=name)]
    else:
        handles += [Line2D([], [], color=colours(0.95), label="poor")]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(left, 1 - 0.62 / height), ncols=3, borderaxespad=0.0
    )
    if left_out := len(shown_parameters(facts, trials, len(facts.parameters))) - len(parameters):
        figure.text(left, 0.06 / height, f"{left_out} more that fewer trials have are left out", fontsize=SMALL)
    return figure


def _path(rows: Sequence[Places], trial: TrialFacts) -> list[tuple[float, float]]:
    """Returns the points of a trial's line: its value's, then its parameters'."""
    path = [(rows[0].at(trial.value or 0.0), 0.0)]
    for depth, row in enumerate(rows[1:], 1):
        x = _at(row, trial)
        if row.choices and x >= 0:  # lines through the same choice lie side by side
            x += (trial.number * 0.618 % 1 - 0.5) * 0.025
        path.append((x, float(-depth)))
    return path


def _marks(row: Places) -> list[float]:
    return [row.low, (row.low * row.high) ** 0.5 if row.parameter.log else (row.low + row.high) / 2, row.high]


def _at(row: Places, trial: TrialFacts) -> float:
    value = trial.choices.get(row.parameter.name)
    if value is None or (row.parameter.log and not value > 0):
        return _NOT_ASKED
    return row.at(value)


def _row(axes: Axes, depth: int, row: Places, ticks: Sequence[tuple[float, str]], *, misses: bool) -> None:
    """Draws the axis of a parameter, its ticks, and its name beside it."""
    axes.plot([0, 1], [-depth, -depth], color=GREY, lw=1.0, zorder=1)
    axes.annotate(
        row.parameter.name,
        (_NOT_ASKED - 0.03, -depth),
        ha="right",
        va="center",
        fontsize=SMALL,
        annotation_clip=False,
        fontweight="bold" if depth == 0 else "normal",
    )
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.95, "pad": 0.6}
    for x, text in [*ticks, *([(_NOT_ASKED, "–")] if misses else [])]:
        axes.plot([x, x], [-depth - 0.06, -depth + 0.06], color=GREY, lw=1.0, zorder=1)
        long = len(text) > _SHORT
        ha: Literal["left", "center", "right"] = "right" if x > 0.98 and long else "center"
        if 0 <= x < 0.02 and misses and len(text) > 1:  # beside the dash
            ha = "left"
        place = x + {"left": -0.014, "right": 0.02}.get(ha, 0.0)
        axes.text(place, -depth - 0.13, text, ha=ha, va="top", fontsize=SMALL - 1.5, bbox=box, zorder=5)
