"""What is compared of arms: figures of their trials, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mnistnn.errors import nearest
from sweeps.ensemble.evaluate import Interval
from sweeps.errors import ConfigError

__all__ = ["FIGURES", "SHOWN", "Figure", "change_text", "figure_named"]


class Figure(NamedTuple):
    """What is compared of arms.

    Attributes:
        title: what it is called, with its unit.
        factor: brings it to that unit.
        digits: after the point.
        of: returns it from a trial's attributes; raises a KeyError where it is not known.
        needs_end: whether only a trial that is complete has it.
    """

    title: str
    factor: float
    digits: int
    of: Callable[[Mapping[str, Any]], float]
    needs_end: bool = True


def _known(name: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda attributes: float(attributes[name])


def _less(name: str, other: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda attributes: float(attributes[name]) - float(attributes[other])


#: By name. The first three are of the best epoch, or say which that was; the next two of the last one.
FIGURES: Mapping[str, Figure] = {
    "val_accuracy": Figure("val accuracy, %", 100.0, 2, _known("val_accuracy")),
    "val_loss": Figure("val loss", 1.0, 4, _known("val_loss")),
    "best_epoch": Figure("best epoch", 1.0, 1, _known("best_epoch")),
    "gap": Figure("last val − train loss", 1.0, 4, _less("last_val_loss", "last_train_loss")),
    "rise": Figure("val loss, last − best", 1.0, 4, _less("last_val_loss", "val_loss")),
    "start_saturated": Figure("saturated at first, %", 100.0, 1, _known("start_saturated"), needs_end=False),
    "start_overflow": Figure("overflowing at first, %", 100.0, 1, _known("start_overflow"), needs_end=False),
    "start_largest": Figure("largest input at first", 1.0, 1, _known("start_largest"), needs_end=False),
}
#: What is shown where nobody says.
SHOWN = ("val_accuracy", "val_loss")


def figure_named(name: str) -> Figure:
    """Returns a figure.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in FIGURES:
        raise ConfigError(f"a figure of arms must be known, but {name!r:.60} is not; {nearest(name, FIGURES)}")
    return FIGURES[name]


def change_text(interval: Interval, figure: Figure) -> str:
    """Returns a difference with its interval: "+0.12 [-0.03, +0.27]"."""
    ends = (interval.estimate, interval.low, interval.high)
    estimate, low, high = (f"{round(figure.factor * each, figure.digits) + 0.0:+.{figure.digits}f}" for each in ends)
    return f"{estimate} [{low}, {high}]"
