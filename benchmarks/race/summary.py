"""What many races say together: times, accuracies and the ratio of the times, with intervals."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.race.processes import SIDES, Finish, Lap, Ready
from benchmarks.race.scene import LABELS
from benchmarks.race.settings import Settings
from mnistnn.errors import OutputError
from mnistnn.files import atomic_write

__all__ = ["Result", "Spread", "check_output", "facts", "head", "line", "lines", "share", "speed_up", "spread", "write"]


@dataclass(frozen=True, slots=True)
class Result:
    """One race. `seconds` and `accuracies` are in the order of `SIDES`."""

    seed: int
    seconds: tuple[float, float]
    accuracies: tuple[float, float]

    @classmethod
    def of(cls, seed: int, events: Iterable[Lap | Finish]) -> Result:
        """Runs the race that `events` are of to its end, and returns how it went."""
        ends = {event.side: event for event in events if isinstance(event, Finish)}
        return cls(seed, (ends[0].seconds, ends[1].seconds), (ends[0].accuracy, ends[1].accuracy))


@dataclass(frozen=True, slots=True)
class Spread:
    """Some values; `low` and `high` are the ends of the 95 % interval of the mean, by Student's t."""

    mean: float
    sd: float
    low: float
    high: float
    least: float
    most: float
    median: float


def spread(values: Sequence[float]) -> Spread:
    """Returns how the values are spread; with a single one neither sd nor interval is known, and both are NaN."""
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    sd = float(array.std(ddof=1)) if len(array) > 1 else math.nan
    half = _t_quantile(len(array)) * sd / math.sqrt(len(array))
    return Spread(mean, sd, mean - half, mean + half, float(array.min()), float(array.max()), float(np.median(array)))


def speed_up(results: Sequence[Result]) -> Spread:
    """Returns how many times longer PyTorch took than this network, race by race.

    Of ratios the logarithm is averaged: so twice as fast and half as fast are none. `sd` is a factor likewise.
    """
    logs = spread([math.log(result.seconds[1] / result.seconds[0]) for result in results])
    return Spread(**{name: math.exp(value) for name, value in asdict(logs).items()})


def share(accuracies: Sequence[float], goal: float) -> tuple[int, float, float]:
    """Returns how many reach the goal, and the ends of the 95 % interval of their share (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    reached = sum(accuracy >= goal for accuracy in accuracies)
    interval = binomtest(reached, len(accuracies)).proportion_ci()
    return reached, float(interval.low), float(interval.high)


def _t_quantile(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1)) if n > 1 else math.nan


def facts(settings: Settings, ready: Sequence[Ready], environment: Any, *, keep_pages: bool) -> dict[str, Any]:
    """Returns under what circumstances races were run, as plain values."""
    return {
        "environment": asdict(environment),
        "sides": [each.detail for each in ready],
        "keep_pages": keep_pages,
        "settings": settings.to_dict(),
    }


def head(facts: dict[str, Any]) -> list[str]:
    """Returns what is raced, under circumstances as `facts` has them, and the heads of the columns of `line`."""
    details = [f"{label} ({detail})" for label, detail in zip(LABELS, facts["sides"], strict=True)]
    names = "".join(f"{label:>16} s       %" for label in LABELS)
    return [f"{details[0]} against {details[1]}, one after the other on one thread", f"seed{names}   ratio"]


def line(result: Result) -> str:
    """Returns one race in a line."""
    cells = [f"{s:18.2f}  {a * 100:6.2f}" for s, a in zip(result.seconds, result.accuracies, strict=True)]
    return f"{result.seed:4}{''.join(cells)}  {result.seconds[1] / result.seconds[0]:6.2f}"


def lines(results: Sequence[Result], goal: float) -> list[str]:
    """Returns the summary as a table."""
    rows: list[tuple[str, ...]] = [("", "mean", "sd", "95 % interval", "min", "median", "max")]
    for side, label in enumerate(LABELS):
        times = spread([result.seconds[side] for result in results])
        rows.append((f"{label}, s", *_cells(times, "{:.2f}")))
    for side, label in enumerate(LABELS):
        accuracies = spread([result.accuracies[side] * 100 for result in results])
        rows.append((f"{label}, %", *_cells(accuracies, "{:.3f}")))
    rows.append(("PyTorch / this network", *_cells(speed_up(results), "{:.2f}")))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    table.append("")
    for side, label in enumerate(LABELS):
        reached, low, high = share([result.accuracies[side] for result in results], goal)
        table.append(
            f"{label}: {reached} of {len(results)} seeds reach {goal:.0%} (95 % interval {low:.0%} to {high:.0%})"
        )
    sooner = sum(result.seconds[0] < result.seconds[1] for result in results)
    first, second = (np.median([result.seconds[side] for result in results]) for side in range(2))
    won = f"{LABELS[0]} is done sooner in {sooner} of {len(results)} races"
    table.append(f"{won}; the ratio of the median times is {second / first:.2f}")
    return table


def _cells(values: Spread, form: str) -> tuple[str, ...]:
    def show(value: float) -> str:
        return form.format(value) if math.isfinite(value) else "–"

    interval = f"{show(values.low)} to {show(values.high)}" if math.isfinite(values.low) else "–"
    return show(values.mean), show(values.sd), interval, show(values.least), show(values.median), show(values.most)


def check_output(path: Path | None) -> None:
    """Refuses a file that could not be written, before the races instead of after them.

    Raises:
        OutputError: it is neither JSON nor CSV.
    """
    if path is not None and path.suffix.lower() not in (".json", ".csv"):
        raise OutputError(f"the output must be a .json or a .csv, but got {path}; name it so.")


def write(path: Path, results: Sequence[Result], goal: float, known: dict[str, Any]) -> None:
    """Writes the races to a CSV, or with their summary and what is known of them to a JSON.

    Raises:
        OutputError: the file cannot be written.
    """
    races = [
        {"seed": result.seed}
        | {f"{name}_s": round(result.seconds[side], 4) for side, name in enumerate(SIDES)}
        | {f"{name}_accuracy": result.accuracies[side] for side, name in enumerate(SIDES)}
        for result in results
    ]
    if path.suffix.lower() == ".csv":
        with atomic_write(path, "w") as file:
            writer = csv.DictWriter(file, list(races[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(races)
        return
    summary: dict[str, Any] = {"speed_up": _finite(speed_up(results))}
    for side, name in enumerate(SIDES):
        accuracies = [result.accuracies[side] for result in results]
        reached, low, high = share(accuracies, goal)
        summary[name] = {
            "seconds": _finite(spread([result.seconds[side] for result in results])),
            "accuracy": _finite(spread(accuracies)),
            "reached": reached,
            "reached_interval": [low, high],
        }
    with atomic_write(path, "w") as file:
        everything = known | {"goal": goal, "races": races, "summary": summary}
        json.dump(everything, file, indent=2, ensure_ascii=False)
        file.write("\n")


def _finite(values: Spread) -> dict[str, float | None]:
    """Returns the fields; what is not known is null, for JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(values).items()}
