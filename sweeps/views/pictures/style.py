"""How pictures look: one palette, sizes that a phone can show, and the way from a figure to a small PNG."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = [
    "BEST",
    "COMPLETE",
    "FAILED",
    "FAINT",
    "GREY",
    "PALETTE",
    "PRUNED",
    "SMALL",
    "WAITING",
    "WIDTH",
    "NothingToDraw",
    "legend_above",
    "log_marks",
    "new_figure",
    "number",
    "plain_log_axis",
    "plain_numbers",
    "ramp",
    "spread",
    "styled",
    "to_png",
]

#: Colours that colour-blind readers tell apart. Source: Okabe and Ito 2008.
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}
GREY, FAINT = "#6E6E6E", "#D0D0D0"
#: What a trial's state looks like everywhere; its marker differs too.
COMPLETE, PRUNED, FAILED, WAITING = PALETTE["blue"], PALETTE["orange"], PALETTE["vermillion"], PALETTE["sky"]
BEST = PALETTE["black"]

#: Inches. Shown over the 360 pixels of a phone, SMALL letters are then 8 pixels high, and others 10.
WIDTH = 5.6
SMALL = 9.0
_SIZE = 10.5
_DPI = 150

# A picture has few hues; with a palette it takes a third of the bytes.
_COLOURS = 64

_RC: dict[str, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelsize": _SIZE,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": _SIZE,
    "axes.axisbelow": True,
    "figure.dpi": _DPI,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # which comes with matplotlib
    "font.size": _SIZE,
    "grid.alpha": 0.6,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # names are shown as they are
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
}

_FINE = tuple(1 + i / 10 for i in range(90))

P = ParamSpec("P")


class NothingToDraw(Exception):
    """There is not enough to make a picture of; the message says what is missing."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Lets a function draw in the house's style, whatever the user's own settings are, which stay as they are."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        from matplotlib import style

        with style.context(["default", _RC]):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(height: float, width: float = WIDTH, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Returns an empty figure, without pyplot: there is no window, no backend to choose and no global state.

    Args:
        height: in inches.
        width: in inches.
        layout: matplotlib's engine; None leaves the places to the caller.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure, title: str = "") -> bytes:
    """Returns the figure as a PNG with a palette; the same figure gives the same bytes.

    Args:
        figure: what a picture's function drew.
        title: to be put over it.
    """
    import numpy as np
    from matplotlib import style
    from PIL import Image

    with style.context(["default", _RC]):
        if title:
            place = {} if figure.get_layout_engine() else {"y": 1 - 0.08 / figure.get_figheight(), "va": "top"}
            figure.suptitle(title, x=0.012, ha="left", **place)
        canvas: Any = figure.canvas
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    file = io.BytesIO()
    image.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def ramp() -> Colormap:
    """Returns the colours from the best (dark) to the worst (pale), whose lightness alone tells them apart."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap([colormaps["viridis"](i / 255 * 0.92) for i in range(256)])


def legend_above(axes: Axes, handles: Sequence[Any] | None = None, *, columns: int = 5) -> None:
    """Puts a legend above `axes`, where it hides nothing.

    Args:
        axes: whose legend it is.
        handles: what is explained; by default all that has a label.
        columns: how many at most stand in a row.
    """
    known = axes.get_legend_handles_labels()[0] if handles is None else handles
    if known:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.01), "borderaxespad": 0.0}
        axes.legend(handles=known, ncols=min(columns, len(known)), **place)


def plain_log_axis(axis: Any, most: int = 8) -> None:
    """Labels a logarithmic axis with plain numbers (0.01, 0.02, 0.05), at most so many."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    low, high = sorted(axis.get_view_interval())
    marks = log_marks(low, high, most)
    axis.set_major_locator(FixedLocator(marks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FixedFormatter([number(mark) for mark in marks]))


def log_marks(low: float, high: float, most: int) -> list[float]:
    """Returns round numbers between two others, as many as there may be: decades, or also their halves and tenths."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for subs in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0), _FINE):
        marks = [sub * 10.0**decade for decade in decades for sub in subs]
        inside = [mark for mark in marks if low * 0.9999 <= mark <= high * 1.0001]
        if len(inside) > most:
            return found if len(found) > 1 else inside[:: -(-len(inside) // most)]
        found = inside if len(inside) > len(found) else found
    return found


def plain_numbers(axis: Any, most: int = 6) -> None:
    """Labels a linear axis with plain numbers, 20k instead of 20000, at most so many."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 10))))


def number(value: float) -> str:
    """Returns a number as people write it: 0.002, 64, 1.5k, 2M."""
    size = abs(value)
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit * 0.9999995 and (size >= 1e4 or unit > 1e3):
            return f"{value / unit:.3g}{name}"
    if size and size < 9.995e-4:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.6g}"


def spread(values: Iterable[float]) -> float:
    """Returns how many times the largest is the smallest; 1 where a ratio means nothing."""
    known = list(values)
    low, high = min(known, default=1.0), max(known, default=1.0)
    return high / low if low > 0 else 1.0
