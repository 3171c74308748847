"""Numbers as the report writes them."""

from __future__ import annotations

from typing import Any

from sweeps.config.duration import duration_code
from sweeps.ensemble.evaluate import Interval

__all__ = [
    "FILTERS",
    "bare_commit",
    "cell",
    "change",
    "change_interval",
    "count",
    "duration",
    "grouped",
    "loss",
    "loss_with_interval",
    "percent",
    "percent_interval",
    "points",
    "sampler",
    "shortened",
    "times",
    "when",
    "words",
]

_SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


def percent(share: float | None, digits: int = 2) -> str:
    """Returns a share as a percentage: 99.31 %."""
    return "" if share is None else f"{100 * share:.{digits}f}{_SPACE}%"


def points(share: float, digits: int = 2) -> str:
    """Returns a difference of two shares in percentage points: 0.12 points."""
    return f"{100 * share:.{digits}f} points"


def percent_interval(interval: Interval) -> str:
    """Returns a share with its interval: 99.31 % [99.13, 99.45]."""
    return f"{percent(interval.estimate)}{_ends(100 * interval.low, 100 * interval.high, 2)}"


def loss(value: float | None) -> str:
    """Returns a loss: 0.0312."""
    return "" if value is None else f"{value:.4f}"


def loss_with_interval(interval: Interval) -> str:
    """Returns a loss with its interval: 0.0312 [0.0280, 0.0345]."""
    return f"{loss(interval.estimate)}{_ends(interval.low, interval.high, 4)}"


def change(value: float, digits: int = 4) -> str:
    """Returns a difference with its sign: −0.0012."""
    return f"{value + 0.0:+.{digits}f}".replace("-", _MINUS)


def change_interval(interval: Interval, digits: int = 2, scale: float = 100.0) -> str:
    """Returns a difference with its interval: +0.12 [−0.03, +0.27]; with a scale below zero, the other way round."""
    low, high = sorted((scale * interval.low, scale * interval.high))
    return f"{change(scale * interval.estimate, digits)} [{change(low, digits)},{_SPACE}{change(high, digits)}]"


def count(number: int, one: str, many: str = "") -> str:
    """Returns a number with its noun: 1 trial, 21 trials."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def times(number: int) -> str:
    """Returns how often: once, 3 times."""
    return {0: "never", 1: "once"}.get(number, f"{number:,} times")


def duration(seconds: float) -> str:
    """Returns a duration with its units: 48 s, 2 min 30 s, 1 h 5 min."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{value}{_SPACE}{unit}" for value, unit in parts if value) or f"0{_SPACE}s"


def grouped(number: float | None) -> str:
    """Returns a whole number with its thousands apart: 61,706."""
    return "" if number is None else f"{number:,.0f}"


def cell(value: Any) -> str:
    """Returns a choice as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.3g}"
    return str(value)


def when(time: str) -> str:
    """Returns a time as the record has it without its zone, which is UTC."""
    return time.replace("T", " ").removesuffix("+00:00")


def words(name: str) -> str:
    """Returns a name as people write it: "learning rate"."""
    return name.replace("_", " ").replace(".", " ")


def sampler(name: str) -> str:
    """Returns a sampler's name as people know it."""
    known = {
        "tpe": "TPE (Bayesian search)",
        "random": "Random search",
        "qmc": "A Sobol sequence",
        "grid": "A grid",
        "arms": "Arms",
    }
    return known.get(name, name)


def bare_commit(commit: str) -> str:
    """Returns what `git checkout` takes; nothing where no commit is known."""
    return "" if commit == "unknown" else commit.removesuffix("-dirty")


def shortened(reason: str, longest: int = 120) -> str:
    """Returns a reason without the state that it begins with, and no longer than a cell of a table bears."""
    bare = reason.removeprefix("diverged: ")
    return bare if len(bare) <= longest else f"{bare[:longest]}…"


def _ends(low: float, high: float, digits: int) -> str:
    """Returns the ends of an interval; nothing for one that has no width, as nobody could tell it."""
    return "" if low == high else f" [{low:.{digits}f},{_SPACE}{high:.{digits}f}]"


#: What templates may call, by name.
FILTERS = {
    "cell": cell,
    "change": change,
    "change_interval": change_interval,
    "commit": bare_commit,
    "count": count,
    "duration": duration,
    "duration_code": duration_code,
    "grouped": grouped,
    "loss": loss,
    "loss_interval": loss_with_interval,
    "percent": percent,
    "percent_interval": percent_interval,
    "points": points,
    "reason": shortened,
    "sampler": sampler,
    "times": times,
    "when": when,
    "words": words,
}
