"""An ensemble and its members: how good each is, and how alike they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sweeps.ensemble.evaluate import share_interval
from sweeps.views.pictures.ensemble_facts import EnsembleFacts
from sweeps.views.pictures.scale import Scale
from sweeps.views.pictures.style import (
    BEST,
    COMPLETE,
    GREY,
    PALETTE,
    SMALL,
    NothingToDraw,
    legend_above,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["agreement", "draw_agreement", "draw_members"]

_TEST = PALETTE["vermillion"]
_MOST_CELLS = 16  # members in a matrix whose cells can be read


@styled
def draw_members(facts: EnsembleFacts) -> Figure:
    """Draws the accuracy of each member and of the ensemble with 95 % intervals, on images that chose and test images.

    A member's are of the images that it was not trained on, which of a final stage are a tenth of all.
    """
    report = facts.report
    counts = [len(facts.labels), *(int(count) for count in facts.seen.sum(axis=1))]
    rows = [("ensemble", report.title, report.scores)]
    rows += [(e.member.name, f"{e.member.label} · weight {e.weight:.2g}", e.scores) for e in report.members]
    figure = new_figure(1.3 + 0.52 * len(rows))
    axes = figure.add_subplot()
    scale = Scale("accuracy, with 95 % intervals", is_share=True)
    tests = int(report.data["test_images"])
    parts = (
        ("val", counts, COMPLETE, "o", f"{report.chosen_by}, {_images(counts)}"),
        ("test", [tests] * len(rows), _TEST, "s", f"test, {tests:,} images"),
    )
    for part, images, colour, marker, name in parts:
        intervals = [
            share_interval(getattr(scores, part).accuracy, count)
            for (*_, scores), count in zip(rows, images, strict=True)
        ]
        shift = 0.08 if part == "val" else 0.28
        axes.errorbar(
            [each.estimate for each in intervals],
            [row + shift for row in range(len(rows))],
            xerr=[
                [each.estimate - each.low for each in intervals],
                [each.high - each.estimate for each in intervals],
            ],
            fmt=marker,
            color=colour,
            markersize=5.5,
            elinewidth=1.4,
            capsize=2.5,
            label=name,
        )
    left, right = axes.get_xlim()
    for row, (_, label, _) in enumerate(rows):
        axes.text(0.005, row - 0.16, label, fontsize=SMALL - 0.5, color=GREY, transform=axes.get_yaxis_transform())
    axes.axhspan(-0.45, 0.48, color=PALETTE["yellow"], alpha=0.25, lw=0)
    axes.set_xlim(left, min(right, 1.0 + 0.02 * (1 - left)))
    axes.set_yticks([row + 0.18 for row in range(len(rows))], [name for name, *_ in rows])
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.45, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    scale.dress(axes, "x")
    legend_above(axes)
    return figure


def _images(counts: Sequence[int]) -> str:
    """Returns how many images there are, and how many of them a member has answered, if not all."""
    together, *each = counts
    least, most = min(each), max(each)
    own = f"{least:,}" if least == most else f"{least:,}–{most:,}"
    return f"{together:,} images" + (f" ({own} a member)" if least < together else "")


def agreement(facts: EnsembleFacts) -> NDArray[np.float64]:
    """Returns for each two members, and the ensemble as the last, on which share of the images they agree.

    Only the images count that both have predicted; where there are none, it is not a number.

    Shape: → (M + 1, M + 1)
    """
    answers = np.concatenate([facts.member_probs, facts.probs[None]]).argmax(axis=2)  # (M + 1, N)
    seen = np.concatenate([facts.seen, np.ones((1, len(facts.labels)), bool)])
    both = np.stack([(seen & mask).sum(axis=1) for mask in seen])
    same = np.stack([((answers == row) & seen & mask).sum(axis=1) for row, mask in zip(answers, seen, strict=True)])
    shares: NDArray[np.float64] = np.divide(same, both, out=np.full(both.shape, np.nan), where=both > 0)
    return shares


@styled
def draw_agreement(facts: EnsembleFacts) -> Figure:
    """Draws on which share of the validation images each two members give the same answer.

    Raises:
        NothingToDraw: there is only one member.
    """
    from matplotlib.ticker import FuncFormatter

    shares = agreement(facts)
    if len(shares) < 3:
        raise NothingToDraw("the ensemble has only one member.")
    names = [*facts.names, "ensemble"]
    count = len(names)
    left_out = np.triu(np.ones((count, count), bool)) | np.isnan(shares)
    shown = np.ma.masked_where(left_out, 100 * shares)[1:, :-1]
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    least = float(shown.min())
    picture = axes.imshow(shown, cmap="cividis", vmin=least, vmax=max(float(shown.max()), least + 1e-3))
    if count <= _MOST_CELLS:
        middle = (least + float(shown.max())) / 2
        for (row, column), share in np.ndenumerate(shown.data):
            if column <= row and not np.isnan(share):
                colour = "white" if share <= middle else "black"
                size = SMALL if count <= 9 else SMALL - 3
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=size, color=colour)
    tilt = 0 if count <= 7 else 90
    axes.set_xticks(range(count - 1), names[:-1], rotation=tilt)
    axes.set_yticks(range(count - 1), names[1:])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label=f"same answer, % of the {facts.report.chosen_by} images")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    bar.outline.set_visible(False)
    axes.text(0.98, 0.98, _joint(facts), transform=axes.transAxes, ha="right", va="top", fontsize=SMALL, color=BEST)
    return figure


def _joint(facts: EnsembleFacts) -> str:
    answers = facts.member_probs.argmax(axis=2)  # (M, N)
    first = answers[facts.seen.argmax(axis=0), np.arange(len(facts.labels))]
    same = int(((answers == first) | ~facts.seen).all(axis=0).sum())
    wrong = int(((answers != facts.labels) | ~facts.seen).all(axis=0).sum())
    return f"all agree on {same:,}\nof {len(facts.labels):,} images;\nall are wrong on {wrong:,}"
