"""Which pictures there are, in the order in which they are to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.views.pictures import Picture
from sweeps.views.pictures.cost import draw_cost
from sweeps.views.pictures.history import draw_epochs, draw_history

if TYPE_CHECKING:
    from sweeps.views.pictures.facts import StudyFacts

__all__ = ["ENSEMBLE", "STUDY"]

STUDY: tuple[Picture[StudyFacts], ...] = (
    Picture(
        "history",
        "Optimisation history",
        "Each trial's value, and the best so far. A pruned trial is shown by what it had reached.",
        draw_history,
    ),
    Picture("epochs", "Values after each epoch", "Each line is a trial; the better it ended, the darker.", draw_epochs),
    Picture(
        "cost",
        "Accuracy and what it costs",
        "Of the trials on the Pareto front, none is beaten by one that costs less.",
        draw_cost,
    ),
)
ENSEMBLE: tuple[Picture[object], ...] = ()
