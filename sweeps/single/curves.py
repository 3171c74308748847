"""The curves of one training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from mnistnn.metrics import moving_average
from mnistnn.training import EpochMetrics

__all__ = ["draw_curves"]

_WINDOW = 2  # the report's
_TRAIN, _VAL = "#0072B2", "#D55E00"  # told apart by colour-blind readers too


def draw_curves(history: Sequence[EpochMetrics], title: str, file: IO[bytes]) -> None:
    """Draws loss and accuracy by epoch as a PNG; the validation's as points, with their moving average as a line."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.0, 3.6), dpi=110, layout="constrained")  # without pyplot: no window, no global state
    epochs = [metrics.epoch for metrics in history]
    validated = [metrics for metrics in history if metrics.val_loss is not None]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        points = [getattr(metrics, f"val_{name}") for metrics in validated]
        at = [metrics.epoch for metrics in validated]
        axes.plot(
            epochs,
            [getattr(metrics, f"train_{name}") for metrics in history],
            "o-",
            markersize=3,
            color=_TRAIN,
            label="training",
        )
        axes.plot(at, moving_average(points, _WINDOW), color=_VAL, label=f"validation, mean of {_WINDOW} epochs")
        axes.plot(at, points, "o", color=_VAL, markersize=3, alpha=0.6)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(file, format="png")
