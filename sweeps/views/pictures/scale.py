"""The axis of what trials are judged by: losses and error rates go over decades, and the best lie close together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.views.pictures.style import log_marks, number, plain_log_axis, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Scale", "scale_of"]

_WIDE = 6.0  # how many times the best the worst must be for an axis to be logarithmic
_TOLD_APART = 1e-5  # errors below it: one image of a hundred thousand


@dataclass(frozen=True, slots=True)
class Scale:
    """How values are placed on an axis.

    Attributes:
        label: of the axis.
        is_log: whether the axis is logarithmic.
        is_error: whether accuracies are placed by their errors, the least at the far end, and labelled as accuracies:
            99.0 and 99.5 % are then as far apart as 90 and 95 %.
        is_share: whether values are shares, shown as percentages.
        floor: the least error that is told from none.
    """

    label: str
    is_log: bool = False
    is_error: bool = False
    is_share: bool = False
    floor: float = _TOLD_APART

    def place(self, values: Iterable[float]) -> list[float]:
        """Returns where values are on the axis, as its coordinates."""
        return [self.at(value) for value in values]

    def at(self, value: float) -> float:
        """Returns where a value is on the axis."""
        return max(1 - value, self.floor) if self.is_error else value

    def text(self, value: float) -> str:
        """Returns a value in words."""
        return f"{100 * value:.2f} %" if self.is_share else f"{value:.4g}"

    def dress(self, axes: Axes, which: str = "y", most: int = 7) -> None:
        """Makes an axis such a one, when all is on it, with at most so many marks if it is logarithmic."""
        from matplotlib.ticker import FixedLocator

        axis: Any = getattr(axes, f"{which}axis")
        set_scale, set_label = getattr(axes, f"set_{which}scale"), getattr(axes, f"set_{which}label")
        set_label(self.label)
        if self.is_log:
            set_scale("log")
            axes.autoscale_view()
            plain_log_axis(axis, most)
        if self.is_error:
            axis.set_inverted(True)
        if self.is_share:
            low, high = sorted(axis.get_view_interval())
            axis.set_major_formatter(self._percent)
            if self.is_error:
                axis.set_major_locator(FixedLocator(log_marks(low, high, most)))
            elif high > 1:  # there are none beyond
                getattr(axes, f"set_{which}lim")(None, 1.0 + 0.02 * (1.0 - low))

    def _percent(self, place: float, _: object = None) -> str:
        return f"{number(round(100 * (1 - place if self.is_error else place), 6))} %"


def scale_of(values: Sequence[float], label: str, *, is_accuracy: bool) -> Scale:
    """Returns the scale on which so many values are best told apart.

    Args:
        values: all that is shown.
        label: of the axis.
        is_accuracy: whether they are accuracies; some that go beyond 0 to 1 are not.
    """
    if is_accuracy and values and min(values) >= 0 and max(values) <= 1:
        errors = [1 - value for value in values if value < 1]
        floor = max(_TOLD_APART, min(errors, default=1.0) / 2)  # so that a perfect one does not stretch the axis
        is_wide = spread([*errors, floor]) > _WIDE if errors else False
        return Scale(label, is_log=is_wide, is_error=is_wide, is_share=True, floor=floor)
    return Scale(label, is_log=spread(values) > _WIDE and min(values, default=0.0) > 0)
