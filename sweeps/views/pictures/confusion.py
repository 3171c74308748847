"""What an ensemble takes for what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweeps.views.pictures.ensemble_facts import EnsembleFacts
from sweeps.views.pictures.style import SMALL, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_confusion"]


@styled
def draw_confusion(facts: EnsembleFacts) -> Figure:
    """Draws the test images by label and prediction. Only errors are coloured: beside the others they would be pale."""
    report = facts.report
    counts = np.array(report.confusion)
    classes = len(counts)
    right = np.eye(classes, dtype=bool)
    errors = np.ma.masked_where(right | (counts == 0), counts)
    most = max(1, int(np.max(np.where(right, 0, counts))))
    figure = new_figure(5.3)
    axes = figure.add_subplot()
    axes.imshow(errors, cmap="cividis_r", vmin=0, vmax=most)
    for (label, predicted), count in np.ndenumerate(counts):
        if count:
            is_dark = label != predicted and count > 0.55 * most
            axes.text(
                predicted,
                label,
                str(count),
                ha="center",
                va="center",
                fontsize=SMALL if label != predicted else SMALL - 1,
                color="white" if is_dark else "black",
                fontweight="bold" if label != predicted else "normal",
            )
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", visible=True)
    axes.tick_params(which="both", length=0)
    axes.set(xlabel="predicted", ylabel="label")
    wrong = int(counts.sum() - np.trace(counts))
    axes.set_title(f"{wrong:,} of {counts.sum():,} test images wrong; errors are coloured", fontsize=SMALL)
    return figure
