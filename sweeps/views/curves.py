"""A trial's curve by epoch, from its folder or its study's storage, and such curves as text."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from mnistnn.npz import open_plain
from sweeps.study.lineage import is_final

__all__ = ["Curve", "curve_of", "sparkline"]

#: A figure by epoch.
Curve = dict[int, float]

_LARGEST_FILE = 1 << 20  # bytes: a history of a thousand epochs takes a tenth of it
_BARS = "▁▂▃▄▅▆▇█"


def curve_of(trial: FrozenTrial, folder: Path, metric: str) -> dict[str, Curve]:
    """Returns a trial's `val_loss` and `val_accuracy`, and what it is judged by, by epoch, as far as they are known.

    Args:
        trial: the trial.
        folder: its folder, in which the history of one that has ended lies.
        metric: of what the trial reports to its study, which is all that is known of one that runs. Where the study
            has a `validation_shift`, that is the mean over both kinds of images.
    """
    names = dict.fromkeys(("val_loss", "val_accuracy", metric))
    curves: dict[str, Curve] = {name: {} for name in names}
    try:
        with open_plain(folder / "history.csv") as file:
            for row in csv.DictReader(file.read(_LARGEST_FILE).decode().splitlines()):
                for name, curve in curves.items():
                    if row[name]:
                        curve[int(row["epoch"])] = float(row[name])
    except (OSError, ValueError, KeyError, TypeError, csv.Error):  # missing or damaged: the storage knows one curve
        curves = {name: {} for name in names}
    if not any(curves.values()) and not is_final(trial):  # whose images nobody looks at before its end
        curves[metric] = {int(epoch): float(value) for epoch, value in sorted(trial.intermediate_values.items())}
    return curves


def sparkline(curve: Mapping[int, float], epochs: Sequence[int], low: float, high: float, width: int) -> str:
    """Returns a curve as a line of bars, of which each stands for as many epochs as it must.

    Args:
        curve: the figure by epoch; what is not finite, or not there, is a gap.
        epochs: what the line stands for.
        low: the figure of the lowest bar.
        high: that of the highest.
        width: the longest that the line may be.
    """
    count = min(width, len(epochs))
    line = ""
    for index in range(count):
        span = epochs[index * len(epochs) // count : (index + 1) * len(epochs) // count]
        values = [curve[epoch] for epoch in span if math.isfinite(curve.get(epoch, math.nan))]
        if not values:
            line += " "
            continue
        share = (sum(values) / len(values) - low) / (high - low) if high > low else 0.0
        line += _BARS[round(min(1.0, max(0.0, share)) * (len(_BARS) - 1))]
    return line.rstrip()
