"""What an ensemble's members look for, and the images that it is not sure of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import CheckpointError
from mnistnn.types import Floats
from sweeps.ensemble.members import load_network
from sweeps.views.pictures.ensemble_facts import EnsembleFacts
from sweeps.views.pictures.style import FAILED, GREY, SMALL, WIDTH, NothingToDraw, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnistnn.network import Network

__all__ = ["doubtful", "draw_doubts", "draw_filters", "first_filters"]

_MOST_MEMBERS = 10
_ACROSS, _MOST_FILTERS = 12, 24
_SHEET_ACROSS, _SHEET_DOWN = 4, 5
_IMAGE_SIDE = 28


def first_filters(network: Network) -> Floats | None:
    """Returns what the first layer with weights looks for: a convolution's kernels, or a dense layer's rows as images.

    Shape: → (filters, side, side), or None if the network has no such layer.
    """
    weights: list[NDArray[Any]] = [param.value for param in network.arena.named().values() if param.value.ndim > 1]
    if not weights:
        return None
    first: NDArray[Any] = weights[0]
    if first.ndim == 4 and first.shape[2] == 1:  # (kernel, kernel, 1, filters)
        return np.moveaxis(first[:, :, 0, :], 2, 0)
    if first.ndim == 2 and first.shape[0] == _IMAGE_SIDE**2:  # (pixels, units)
        return first.T.reshape(-1, _IMAGE_SIDE, _IMAGE_SIDE)
    return None


@styled
def draw_filters(facts: EnsembleFacts) -> Figure:
    """Draws the first layer's filters of each member: black is negative, white positive.

    Raises:
        NothingToDraw: no member's weights are there, or no first layer can be shown as images.
    """
    rows: list[tuple[str, Floats, int]] = []
    for scored in facts.report.members[:_MOST_MEMBERS]:
        try:
            filters = first_filters(load_network(scored.member, facts.paths, batch_size=1))
        except CheckpointError:  # freed by `clean`, or gone
            continue
        if filters is not None:
            rows.append((f"{scored.member.name} {scored.member.label}", filters[:_MOST_FILTERS], len(filters)))
    if not rows:
        raise NothingToDraw("no member has weights here that can be shown as images.")
    cell, gap = (WIDTH - 0.3) / _ACROSS, 0.28
    lines = [-(-len(filters) // _ACROSS) for _, filters, _ in rows]
    height = 0.45 + sum(lines) * cell + gap * len(rows)
    figure = new_figure(height, layout=None)
    top = height - 0.45
    for (name, filters, count), deep in zip(rows, lines, strict=True):
        more = f", {len(filters)} of {count}" if count > len(filters) else ""
        figure.text(0.15 / WIDTH, (top - 0.17) / height, f"{name}{more}", fontsize=SMALL)
        axes = figure.add_axes(
            (0.15 / WIDTH, (top - gap - deep * cell) / height, 1 - 0.3 / WIDTH, deep * cell / height)
        )
        _mosaic(axes, filters, deep)
        top -= gap + deep * cell
    return figure


def _mosaic(axes: Axes, filters: Floats, deep: int) -> None:
    side = filters.shape[1]
    tile = side * 1.15  # a little white between them
    most = float(np.abs(filters).max()) or 1.0
    for i, each in enumerate(filters):
        x, y = i % _ACROSS * tile, i // _ACROSS * tile
        axes.imshow(each, cmap="gray", vmin=-most, vmax=most, extent=(x, x + side, y + side, y))
    axes.set(xlim=(0, _ACROSS * tile), ylim=(deep * tile, 0))
    axes.axis("off")


def doubtful(facts: EnsembleFacts, most: int) -> NDArray[np.int64]:
    """Returns the validation images that the ensemble gets wrong, the surest first, then those it is least sure of.

    Where more are wrong than there is room for, those it is least sure of get a quarter of it.
    """
    probs = facts.probs
    ranked = np.sort(probs, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    is_wrong = probs.argmax(axis=1) != facts.labels
    wrong = np.flatnonzero(is_wrong)
    wrong = wrong[np.argsort(-probs[wrong].max(axis=1), kind="stable")]
    right = np.flatnonzero(~is_wrong)
    right = right[np.argsort(margin[right], kind="stable")]
    room = max(most - len(wrong), min(most // 4, len(right)))
    return np.concatenate([wrong[: most - min(room, len(right))], right[:room]])[:most]


@styled
def draw_doubts(facts: EnsembleFacts) -> Figure:
    """Draws the validation images that the ensemble gets wrong or is least sure of, with its members' votes."""
    chosen = doubtful(facts, _SHEET_ACROSS * _SHEET_DOWN)
    if not len(chosen):
        raise NothingToDraw("there are no validation images.")
    down = -(-len(chosen) // _SHEET_ACROSS)
    cell, image = WIDTH / _SHEET_ACROSS, 0.92
    height = 0.62 + down * (image + 0.5)
    figure = new_figure(height, layout=None)
    wrong = int((facts.probs.argmax(axis=1) != facts.labels).sum())
    shown = int((facts.probs[chosen].argmax(axis=1) != facts.labels[chosen]).sum())
    figure.text(
        0.07 / WIDTH,
        1 - 0.5 / height,
        f"{wrong:,} of {len(facts.labels):,} wrong; {shown} of them, and the least sure right answers",
        fontsize=SMALL,
        color=GREY,
    )
    votes = facts.member_probs.argmax(axis=2)  # (M, N)
    for place, index in enumerate(chosen):
        x = place % _SHEET_ACROSS * cell
        y = height - 0.62 - place // _SHEET_ACROSS * (image + 0.5)
        axes = figure.add_axes(((x + (cell - image) / 2) / WIDTH, (y - image) / height, image / WIDTH, image / height))
        axes.imshow(facts.images[index], cmap="gray_r", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        answer, label = int(facts.probs[index].argmax()), int(facts.labels[index])
        for spine in axes.spines.values():
            spine.set(visible=True, color=GREY if answer == label else FAILED, linewidth=0.8 if answer == label else 2)
        sure = 100 * float(facts.probs[index, answer])
        said = f"is {label}, said {answer}" if answer != label else f"{label}, right"
        counts = Counter(votes[facts.seen[:, index], index].tolist()).most_common(3)
        words = "  ".join(f"{digit}×{count}" for digit, count in counts)
        colour = "black" if answer == label else FAILED
        middle, foot = (x + cell / 2) / WIDTH, y - image
        figure.text(middle, (foot - 0.16) / height, f"{said} ({sure:.0f} %)", ha="center", fontsize=8, color=colour)
        figure.text(middle, (foot - 0.31) / height, f"votes {words}", ha="center", fontsize=8)
    return figure
