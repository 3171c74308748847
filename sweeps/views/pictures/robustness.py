"""An ensemble and its members on changed images, with an example of each change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistnn.types import UInt8s
from sweeps.robustness.digits import NAME, other_digits
from sweeps.robustness.record import Robustness
from sweeps.robustness.variants import GROUPS, generate
from sweeps.views.pictures.scale import Scale
from sweeps.views.pictures.style import BEST, FAILED, GREY, SMALL, WIDTH, legend_above, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_robustness", "picture_title"]

_ROW = 0.34  # inches
_SHOWN = 2  # examples of each change
_LEFT, _RIGHT, _TOP, _BOTTOM = 2.15, 0.2, 0.95, 0.6  # inches around the axes


def picture_title(found: Robustness) -> str:
    """Returns what stands over the picture."""
    return f"Changed {found.part} images: {found.title}"


@styled
def draw_robustness(found: Robustness, images: UInt8s) -> Figure:
    """Draws each group's accuracies, the least errors at the right, beside two of its images.

    Args:
        found: the figures.
        images: training images, of which the first are shown as examples: no test image is opened for a picture.

    Shape: images: (N, 28, 28) uint8
    """
    count = len(found.groups)
    height = _TOP + _BOTTOM + _ROW * count
    figure = new_figure(height, layout=None)
    place = (_LEFT / WIDTH, _BOTTOM / height, 1 - (_LEFT + _RIGHT) / WIDTH, _ROW * count / height)
    axes = figure.add_axes(place)
    least = min(1 / found.images, 1e-3) / 2
    scale = Scale("right answers, with 95 % intervals", is_log=True, is_error=True, is_share=True, floor=least)
    is_told = False
    for row, each in enumerate(found.groups):
        shares = [scale.at(member.accuracy.estimate) for member in each.members if member is not None]
        axes.plot(shares, [row] * len(shares), "|", color=GREY, markersize=9, label="members" if row == 0 else "")
        own = each.ensemble.accuracy
        middle, low, high = (scale.at(value) for value in (own.estimate, own.low, own.high))
        axes.plot([low, high], [row, row], color=BEST, lw=1.4)
        axes.plot([middle], [row], "o", color=BEST, markersize=5.5, label="ensemble" if row == 0 else "")
        if each.worst:
            label = "" if is_told else "worst way"
            axes.plot([scale.at(each.worst[1])], [row], "x", color=FAILED, markersize=6, label=label)
            is_told = True
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    scale.dress(axes, "x", most=6)
    legend_above(axes)
    _examples(figure, found, images, height)
    return figure


def _examples(figure: Figure, found: Robustness, images: UInt8s, height: float) -> None:
    """Puts each group's name and examples to the left of its row."""
    groups = {group.name: group for group in GROUPS}
    side = _ROW * 0.94
    for row, each in enumerate(found.groups):
        top = height - _TOP - row * _ROW
        figure.text(0.08 / WIDTH, (top - _ROW / 2) / height, each.name, va="center", fontsize=SMALL)
        if each.name == NAME:
            shown = other_digits()[0][:_SHOWN]
        elif each.name in groups:
            group = groups[each.name]
            shown = generate(group, group.variants[-1], np.asarray(images[:_SHOWN]))
        else:
            continue
        for index, image in enumerate(shown):
            left = _LEFT - 0.1 - (_SHOWN - index) * _ROW
            axes = figure.add_axes((left / WIDTH, (top - (_ROW + side) / 2) / height, side / WIDTH, side / height))
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=255)
            axes.axis("off")
