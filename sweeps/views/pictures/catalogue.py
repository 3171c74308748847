"""Which pictures there are, in the order in which they are to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeps.views.pictures import Picture
from sweeps.views.pictures.calibration import draw_reliability
from sweeps.views.pictures.confusion import draw_confusion
from sweeps.views.pictures.cost import draw_cost
from sweeps.views.pictures.history import draw_epochs, draw_history
from sweeps.views.pictures.images import draw_doubts, draw_filters
from sweeps.views.pictures.members import draw_agreement, draw_members
from sweeps.views.pictures.parameters import draw_importances, draw_parallel
from sweeps.views.pictures.slices import draw_slices
from sweeps.views.pictures.workers import draw_workers

if TYPE_CHECKING:
    from sweeps.views.pictures.ensemble_facts import EnsembleFacts
    from sweeps.views.pictures.facts import StudyFacts

__all__ = ["ENSEMBLE", "STUDY"]

STUDY: tuple[Picture[StudyFacts], ...] = (
    Picture(
        "history",
        "Optimisation history",
        "Each trial's value, and the best so far. A pruned trial is shown by what it had reached.",
        draw_history,
    ),
    Picture(
        "importances",
        "Importances",
        "Which parameters' values differ most between the best trials and all of them.",
        draw_importances,
    ),
    Picture(
        "parallel",
        "Parameters of the complete trials",
        "Each line is a trial; the better, the darker. A trial that has no such parameter passes at the dash.",
        draw_parallel,
    ),
    Picture("slices", "Each parameter by itself", "Points of a choice are spread sideways to be seen.", draw_slices),
    Picture("epochs", "Values after each epoch", "Each line is a trial; the better it ended, the darker.", draw_epochs),
    Picture(
        "cost",
        "Accuracy and what it costs",
        "Of the trials on the Pareto front, none is beaten by one that costs less.",
        draw_cost,
    ),
    Picture(
        "workers",
        "Who worked when",
        "Each bar is an attempt at a trial, with its number where there is room.",
        draw_workers,
    ),
)
ENSEMBLE: tuple[Picture[EnsembleFacts], ...] = (
    Picture(
        "members",
        "Members and ensemble",
        "Wilson intervals of each accuracy by itself; the gain over the best member is paired, and in the report.",
        draw_members,
    ),
    Picture("confusion", "Test images by label and prediction", "What lies off the diagonal is wrong.", draw_confusion),
    Picture(
        "reliability",
        "How sure and how right",
        "Below the dashed line it is surer than it is right. No test image chose the temperature.",
        draw_reliability,
    ),
    Picture(
        "agreement",
        "Agreement between members",
        "An average gains from members that are good and err on other images.",
        draw_agreement,
    ),
    Picture(
        "filters",
        "First-layer filters",
        "What each member's first layer looks for; black is negative, white positive.",
        draw_filters,
    ),
    Picture(
        "doubts",
        "Validation images it gets wrong or is least sure of",
        "Below each its label, what the ensemble said and how surely, and how the members voted.",
        draw_doubts,
    ),
)
