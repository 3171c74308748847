"""The curves of one training as a picture, in the style of a study's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from mnistnn.metrics import moving_average
from mnistnn.training import EpochMetrics
from sweeps.views.pictures.scale import scale_of
from sweeps.views.pictures.style import COMPLETE, PALETTE, SMALL, legend_above, new_figure, styled, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "draw_curves"]

_WINDOW = 2  # the report's
_VAL = PALETTE["vermillion"]


def draw_curves(history: Sequence[EpochMetrics], title: str, file: IO[bytes]) -> None:
    """Draws loss and accuracy by epoch as a PNG; the validation's as points, with their moving average as a line."""
    file.write(to_png(curves_figure(history), title))


@styled
def curves_figure(history: Sequence[EpochMetrics]) -> Figure:
    """Draws loss and accuracy by epoch, one above the other: a phone shows both in full width."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(5.6)
    epochs = [metrics.epoch for metrics in history]
    validated = [metrics for metrics in history if metrics.val_loss is not None]
    at = [metrics.epoch for metrics in validated]
    grid = figure.subplots(2, 1, sharex=True)
    for axes, name in zip(grid, ("loss", "accuracy"), strict=True):
        train = [getattr(metrics, f"train_{name}") for metrics in history]
        points = [getattr(metrics, f"val_{name}") for metrics in validated]
        scale = scale_of([*train, *points], name, is_accuracy=name == "accuracy")
        smooth = moving_average(points, _WINDOW).tolist()
        axes.plot(epochs, scale.place(train), "s-", markersize=3.5, color=COMPLETE, label="training")
        axes.plot(at, scale.place(points), "o", color=_VAL, markersize=4.5, alpha=0.6, label="validation")
        axes.plot(at, scale.place(smooth), color=_VAL, label=f"validation, mean of {_WINDOW} epochs")
        scale.dress(axes)
    grid[1].set_xlabel("epoch")
    grid[1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    best = min(validated, key=lambda metrics: metrics.val_loss or 0.0, default=None)
    if best is not None and best.val_accuracy is not None:
        text = f"best epoch {best.epoch}: validation loss {best.val_loss:.4f}, accuracy {100 * best.val_accuracy:.2f} %"
        grid[1].set_title(text, fontsize=SMALL)
    legend_above(grid[0], columns=3)
    return figure
