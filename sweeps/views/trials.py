"""The trials of a study as a table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from mnistnn.files import atomic_write
from sweeps.study.lineage import ARM, EXTENDS, IMPORTED, REPEATS, is_final, member_text
from sweeps.study.storage import origin_of
from sweeps.study.validation import OBJECTIVE
from sweeps.views.screen import cut

if TYPE_CHECKING:
    import optuna
    import pandas

__all__ = [
    "LAYOUTS",
    "final_numbers",
    "render",
    "render_best",
    "role_of",
    "source_of",
    "to_json",
    "trials_frame",
    "write_csv",
]

# What a user attribute is called in the table.
_RESULTS = {
    "label": "network",
    OBJECTIVE: OBJECTIVE,
    "val_loss": "val_loss",
    "val_accuracy": "val_accuracy",
    "best_epoch": "best_epoch",
    "epochs_run": "epochs",
    "seconds": "seconds",
    "epoch_s": "epoch_s",
    "epoch_s_estimate": "epoch_s_estimate",
    "params": "params",
    "macs": "macs",
    "peak_mb": "peak_mb",
    "preset": "baseline",
    "reason": "reason",
    "weights_sha256": "weights_sha256",
}
_SHOWN = (
    "trial",
    "state",
    "network",
    OBJECTIVE,
    "val_loss",
    "val_accuracy",
    "epochs",
    "seconds",
    "epoch_s",
    "epoch_s_estimate",
    "params",
    "baseline",
    "from",
)
# Shown only where a trial has one.
_RARE = (OBJECTIVE, "baseline", "from")
# What a narrow terminal does without, first to last, before and after the network's name is cut.
_LEAST = ("epoch_s_estimate", "epoch_s", "params", "from", "baseline", "seconds", "epochs", "state", "val_loss")
_NAME, _SHORTEST_NAME = 20, 8  # characters of a network
_HEADERS = {"epoch_s_estimate": "estimate"}
#: How the table shows a column's values.
LAYOUTS = {
    "trial": "#{:03d}",
    OBJECTIVE: "{:.4f}",
    "val_loss": "{:.4f}",
    "val_accuracy": "{:.4f}",
    "epochs": "{:.0f}",
    "seconds": "{:.1f}",
    "epoch_s": "{:.1f}",
    "epoch_s_estimate": "{:.1f}",
    "params": "{:,.0f}",
}
_NUMBERS = LAYOUTS.keys() - {"trial"}
_ORDER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING)


def trials_frame(study: optuna.Study) -> pandas.DataFrame:
    """Returns one row a trial, the best first: its number, state, results, and parameters by their plain names."""
    import pandas

    sign = -1.0 if study.direction.name == "MAXIMIZE" else 1.0
    trials = [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued")]

    def rank(trial: FrozenTrial) -> tuple[int, float, int]:
        value = math.inf if trial.value is None else sign * trial.value
        return _ORDER.index(trial.state), value, origin_of(trial)

    trials.sort(key=rank)
    parameters = sorted({name for trial in trials for name in trial.params})
    clash = {name for name in parameters if name in _RESULTS.values()}
    # Which only a study has that judges by another figure than the loss or the accuracy.
    results = [name for name in _RESULTS.values() if name != OBJECTIVE or any(name in t.user_attrs for t in trials)]
    rows = [_row(trial, clash) for trial in trials]
    columns = ["trial", "state", "from", *results, *(_column(name, clash) for name in parameters)]
    return pandas.DataFrame(rows, columns=columns)


def render(frame: pandas.DataFrame, width: int | None = None) -> str:
    """Returns the columns that fit a terminal, as text.

    Args:
        frame: what `trials_frame` returned, or some of its rows.
        width: of the terminal; what it has no room for is left out. None: what fits most is shown.
    """
    names = [name for name in _SHOWN if name not in _RARE or (name in frame and frame[name].notna().any())]
    columns: dict[str, list[str]] = {}
    for name in names:
        layout = LAYOUTS.get(name)
        header = _HEADERS.get(name, name)
        columns[name] = [
            header,
            *("" if _is_missing(v) else layout.format(v) if layout else str(v) for v in frame[name]),
        ]
    if width is not None:
        _fit(columns, width)
    aligned = []
    for name, cells in columns.items():
        longest = _width_of(cells)
        aligned.append([cell.rjust(longest) if name in _NUMBERS else cell.ljust(longest) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*aligned, strict=True))


def render_best(study: optuna.Study, most: int = 5, width: int | None = None) -> str:
    """Returns the table of the best complete trials of the search, and one of the members of its final stage, if any.

    Args:
        study: the study.
        most: how many of the search to list.
        width: as in `render`.

    Returns:
        The tables; an empty text while there is nothing for them.
    """
    frame = trials_frame(study)
    complete = frame[frame["state"] == TrialState.COMPLETE.name]
    members = complete["trial"].isin(final_numbers(study))
    tables = [render(each, width) for each in (complete[~members].head(most), complete[members]) if not each.empty]
    return "\n\nfinal stage, each judged by the images that it left out\n\n".join(tables)


def final_numbers(study: optuna.Study) -> set[int]:
    """Returns the numbers of the members of a study's final stage."""
    return {origin_of(trial) for trial in study.get_trials(deepcopy=False) if is_final(trial)}


def _fit(columns: dict[str, list[str]], width: int) -> None:
    """Leaves columns out, and cuts the networks' names, until the rest fits."""

    def excess() -> int:
        return sum(map(_width_of, columns.values())) + 2 * (len(columns) - 1) - width

    networks = columns["network"]
    for name in _LEAST:
        if excess() <= max(0, _width_of(networks) - _NAME):
            break
        columns.pop(name, None)
    if (over := excess()) > 0:
        room = max(_SHORTEST_NAME, _width_of(networks) - over)
        networks[:] = [cut(cell, room) for cell in networks]


def _width_of(cells: list[str]) -> int:
    return max(map(len, cells))


def to_json(frame: pandas.DataFrame) -> str:
    """Returns the whole table as a JSON list of records; what is missing is null."""
    return str(frame.to_json(orient="records", double_precision=15, indent=2))


def write_csv(frame: pandas.DataFrame, path: Path) -> None:
    """Writes the whole table.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path, "w") as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def source_of(trial: FrozenTrial) -> str:
    """Returns what a trial comes from where that is not the sampler: another trial, another study, or somebody."""
    attributes = trial.user_attrs
    if is_final(trial):
        return member_text(trial)
    if imported := attributes.get(IMPORTED):
        return f"fork of {imported['study']} #{imported['trial']:03d}"
    if extends := attributes.get(EXTENDS):
        return f"goes on with {_number(extends['trial'])}, +{extends['total'] - extends['epochs'][-1]} epochs"
    if repeats := attributes.get(REPEATS):
        return f"repeats {_number(repeats['trial'])}, seed {repeats['seed']}"
    if arm := attributes.get(ARM):
        return f"arm {arm['name']}, seed {arm['seed']}"
    return "asked for" if attributes.get("asked") else ""


def role_of(trial: FrozenTrial) -> str:
    """Returns what a trial is besides one that the sampler drew: a baseline, or what `source_of` says, or both."""
    preset = trial.user_attrs.get("preset")
    return ", ".join(filter(None, [f"baseline {preset}" if preset else "", source_of(trial)]))


def _number(trial: int | None) -> str:
    return "one not here" if trial is None else f"#{trial:03d}"


def _row(trial: FrozenTrial, clash: set[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": origin_of(trial), "state": trial.state.name, "from": source_of(trial) or None}
    row |= {column: trial.user_attrs.get(name) for name, column in _RESULTS.items()}
    if row["epochs"] is None and trial.intermediate_values:
        row["epochs"] = max(trial.intermediate_values)
    return row | {_column(name, clash): value for name, value in trial.params.items()}


def _column(name: str, clash: set[str]) -> str:
    return f"{name} (parameter)" if name in clash else name


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN
