"""Two views of a study's runs that open by themselves: a table of the trials, best first, and charts of them.

MLflow keeps a view in a tag of the experiment and lists it under "Views". There is no documentation: what stands here
is what the UI itself wrote when such views were made by hand, so the range of MLflow's versions is pinned, and a test
in a browser tells when it breaks.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["CHARTS", "TABLE", "VIEW_TAGS", "address", "link", "view_tags"]

TABLE: Final = "trials"
CHARTS: Final = "charts"

_TAG: Final = "mlflow.sharedViewState."
VIEW_TAGS: Final = (_TAG + TABLE, _TAG + CHARTS)

_NAMES: Final = {TABLE: "Trials, best first", CHARTS: "Charts"}  # in MLflow's list of views
_MODES: Final = {TABLE: "TABLE", CHARTS: "CHART"}

_LOSS: Final = "best_val_loss"
_ACCURACY: Final = "best_val_accuracy"
_OBJECTIVE: Final = "best_objective"
_METRICS: Final = (_LOSS, _ACCURACY, "epochs_run", "seconds", "params_count")
_FIRST: Final = ("0", "attributes.`Run Name`", "runDateAndNestInfo")  # as MLflow calls the columns that always show
_USUAL: Final = ("architecture", "optimizer", "learning_rate", "batch_size", "norm", "dropout")
_MOST_PARAMS: Final = 30  # the tag has room for 20,000 characters
_MOST_AXES: Final = 12  # that can be told apart on one screen
# Pixels; MLflow's own 100 cut the longer names off.
_WIDTHS: Final = {
    "attributes.`Run Name`": 440,
    "runDateAndNestInfo": 145,
    "attributes.`Models`": 170,
    "attributes.`Dataset`": 190,
    "metrics.`epochs_run`": 90,
    "metrics.`seconds`": 74,
    f"metrics.`{_LOSS}`": 110,
    f"metrics.`{_ACCURACY}`": 140,
    "metrics.`params_count`": 112,
}

# A section called "Model metrics" takes the charts that MLflow makes by itself of whatever else was logged.
_SECTIONS: Final = {
    "params": {"name": "What the best have in common", "display": True, "columns": 1, "cardHeight": 420},
    "costs": {"name": "Accuracy, and what it costs", "display": True, "columns": 3, "cardHeight": 360},
    "curves": {"name": "Epoch by epoch", "display": True, "columns": 3, "cardHeight": 360},
    "rest": {"name": "Model metrics", "display": False, "columns": 3, "cardHeight": 360},
}


def view_tags(
    params: Sequence[str] = _USUAL,
    axes: Sequence[str] = (),
    *,
    by_accuracy: bool = False,
    by_objective: bool = False,
) -> dict[str, str]:
    """Returns the tags of an experiment that hold both views.

    Args:
        params: the params that differ from trial to trial, in the order of the table's columns.
        axes: those of them that every trial has, for parallel coordinates.
        by_accuracy: whether the best has the highest accuracy, and not the lowest loss.
        by_objective: whether trials are judged by another figure than those two, their objective.
    """
    best = _OBJECTIVE if by_objective else _ACCURACY if by_accuracy else _LOSS
    columns = [f"metrics.`{name}`" for name in ((_OBJECTIVE, *_METRICS) if by_objective else _METRICS)]
    columns += ["attributes.`Models`", "attributes.`Dataset`"]
    columns += [f"params.`{name}`" for name in params[:_MOST_PARAMS]]
    widths = _WIDTHS | {f"params.`{name}`": max(80, 30 + 8 * len(name)) for name in params}
    widths |= {f"metrics.`{_OBJECTIVE}`": 120} if by_objective else {}
    common: dict[str, Any] = {
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": not by_accuracy,
        "selectedColumns": columns,
        "columnWidths": widths,
        "columnOrder": [*_FIRST, *(name for name in columns if name not in _FIRST)],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,  # else the sections are in the order of their names
    }
    states: dict[str, dict[str, Any]] = {TABLE: common, CHARTS: common | _charts(axes[:_MOST_AXES])}
    return {
        _TAG + key: json.dumps(
            # The order in MLflow's list is that of the time, the newest first; the tag shall not change with it.
            {
                "name": _NAMES[key],
                "createdAt": len(states) - number,
                "updatedAt": len(states) - number,
                "state": json.dumps(state | {"compareRunsMode": _MODES[key]}),
            }
        )
        for number, (key, state) in enumerate(states.items())
    }


def link(experiment_id: str, key: str = TABLE) -> str:
    """Returns where a view lies on a server: in the training UI, not the one for language models."""
    query = {"workflowType": "machine_learning", "compareRunsMode": _MODES[key], "viewStateShareKey": key}
    return f"#/experiments/{experiment_id}/runs?{urllib.parse.urlencode(query)}"


def address(server: str, experiment_id: str, key: str = TABLE) -> str:
    """Returns the address of a view."""
    return f"{server}/{link(experiment_id, key)}"


def _charts(axes: Sequence[str]) -> dict[str, Any]:
    """Returns what a view of charts has besides that of the table."""
    # Whatever is drawn has a title by MLflow.
    parallel = {"type": "PARALLEL", "selectedParams": list(axes), "selectedMetrics": [_LOSS, _ACCURACY]}
    charts = [_chart("parallel", "params", **parallel, showAllRuns=True)] if axes else []
    for x in ("params_count", "seconds", "trial_number"):
        axis = {name: {"key": key, "type": "METRIC"} for name, key in (("xaxis", x), ("yaxis", _ACCURACY))}
        charts.append(_chart(x, "costs", type="SCATTER", **axis))
    for metric in ("val_loss", "val_accuracy", "train_loss"):
        curve = {"type": "LINE", "metricKey": metric, "selectedMetricKeys": [metric], "xAxisKey": "step"}
        charts.append(_chart(metric, "curves", **curve, useGlobalXaxisKey=True, useGlobalLineSmoothing=True))
    sections = [
        {"uuid": f"sweeps-{key}", "isReordered": False, "deleted": False, "isGenerated": False, **section}
        for key, section in _SECTIONS.items()
        if axes or key != "params"
    ]
    # Without the list of runs beside them, which a click brings back, titles and axes have the room that they need.
    return {"compareRunCharts": charts, "compareRunSections": sections, "runListHidden": True}


def _chart(name: str, section: str, **of_its_type: Any) -> dict[str, Any]:
    return {
        "uuid": f"sweeps-{name}",
        "metricSectionId": f"sweeps-{section}",
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
    } | of_its_type
