"""Whether an ensemble is as often right as it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistnn.metrics import cross_entropy
from mnistnn.types import Floats, Ints, UInt8s
from sweeps.ensemble.evaluate import share_interval
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.views.pictures.ensemble_facts import EnsembleFacts
from sweeps.views.pictures.style import COMPLETE, GREY, PALETTE, SMALL, legend_above, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Reliability", "draw_reliability", "reliability"]

_BINS = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """Predictions by how sure they were: bins of equal width, empty ones left out.

    Attributes:
        confidence: the mean probability of the answer in each bin.
        accuracy: the share that was right.
        count: how many images there were.
        error: the expected calibration error: how far the two are apart, on the average over the images.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float


def reliability(labels: Ints | UInt8s, probs: Floats, bins: int = _BINS) -> Reliability:
    """Sorts predictions into bins by how sure they were.

    Shape:
        labels: (N,); probs: (N, classes)
    """
    sure = probs.max(axis=1).astype(np.float64)
    right = probs.argmax(axis=1) == labels
    places = np.minimum((sure * bins).astype(np.int64), bins - 1)
    count = np.bincount(places, minlength=bins)
    kept = count > 0
    confidence = np.bincount(places, weights=sure, minlength=bins)[kept] / count[kept]
    accuracy = np.bincount(places, weights=right, minlength=bins)[kept] / count[kept]
    error = float(np.sum(count[kept] * np.abs(confidence - accuracy)) / len(labels))
    return Reliability(confidence, accuracy, count[kept], error)


@styled
def draw_reliability(facts: EnsembleFacts) -> Figure:
    """Draws how often the ensemble is right by how sure it is, as its members' average is and with a temperature.

    The temperature is the ensemble's own, or fitted here if it has none, as older ones; what is drawn are the
    predictions for the test images, or, where those were not kept, for the images that chose its members.
    """
    own = facts.temperature if facts.test is None else facts.report.temperature
    temperature = own if own != 1.0 else fit_temperature(facts.labels, facts.probs)
    probs, labels = facts.test if facts.test is not None else (facts.probs, facts.labels)
    probs = tempered(probs, 1 / own)  # as they were before
    part = "test" if facts.test is not None else facts.report.chosen_by
    figure = new_figure(5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls=(0, (4, 3)), label="as sure as right")
    looks = (
        ("plain average", probs, COMPLETE, "o", -0.004),
        (f"temperature {temperature:.2f}", tempered(probs, temperature), PALETTE["vermillion"], "s", 0.004),
    )
    for name, given, colour, marker, shift in looks:
        found = reliability(labels, given)
        intervals = [share_interval(float(a), int(n)) for a, n in zip(found.accuracy, found.count, strict=True)]
        upper.errorbar(
            found.confidence + shift,
            found.accuracy,
            yerr=[
                [each.estimate - each.low for each in intervals],
                [each.high - each.estimate for each in intervals],
            ],
            fmt=f"{marker}-",
            color=colour,
            markersize=5,
            lw=1.2,
            elinewidth=0.9,
            capsize=2,
            label=f"{name}: error {100 * found.error:.2f} %",
        )
        edges = np.linspace(0, 1, _BINS + 1)
        counts = np.histogram(given.max(axis=1), edges)[0]
        lower.stairs(counts, edges, color=colour, lw=1.5, ls="-" if marker == "o" else (0, (4, 2)))
    lower.set_yscale("log")
    lower.set_ylim(0.7, len(labels) * 1.6)
    _count_marks(lower.yaxis, len(labels))
    least = min(
        0.9, float(np.floor(10 * min(probs.max(axis=1).min(), tempered(probs, temperature).max(axis=1).min())) / 10)
    )
    upper.set(
        xlim=(math.floor(10 * min(least, 0.9)) / 10, 1.015), ylim=(-0.03, 1.03), ylabel=f"right, of the {part} images"
    )
    lower.set(xlabel="how sure: the probability of the answer", ylabel="images")
    for axis in (upper.yaxis, lower.xaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    losses = [cross_entropy(labels, given) for _, given, *_ in looks]
    lower.set_title(f"{part} loss {losses[0]:.4f}, with the temperature {losses[1]:.4f}", fontsize=SMALL)
    legend_above(upper, columns=1)
    return figure


def _count_marks(axis: object, most: int) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    marks = [10**power for power in range(6) if 10**power <= most]
    axis.set_major_locator(FixedLocator(marks))  # type: ignore[attr-defined]
    axis.set_major_formatter(FixedFormatter([f"{mark:,}" for mark in marks]))  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]
