"""Which training the race shall use: chosen by validation images alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.race.settings import Settings
from benchmarks.race.sides import NumPySide, laps
from benchmarks.race.summary import share, spread
from mnistnn.data import Dataset
from mnistnn.errors import SpecError, nearest
from mnistnn.files import atomic_write
from mnistnn.network import NetworkSpec

__all__ = ["CHANGES", "SPLIT_SEED", "Tried", "changed", "table", "try_all", "write"]

SPLIT_SEED = 0

CHANGES = (
    "",
    "steps=391",
)
"""What is tried by default: changes to `settings.toml`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How a training did with one seed."""

    change: str
    seed: int
    steps: int
    batch_size: int
    accuracy: float
    seconds: float


def changed(settings: Settings, change: str) -> Settings:
    """Returns the settings with what `change` says: "steps=200 learning_rate=0.008 init_scale=0.5".

    A name is one of the settings' own, the optimizer's, the schedule's, or of all layers that have such a field.

    Raises:
        SpecError: there is no such name, or the value is not legal.
    """
    for assignment in change.split():
        name, _, text = assignment.partition("=")
        layers = [hasattr(layer, name) for layer in settings.network.layers]
        if any(layers):
            new = tuple(
                replace(layer, **{name: _value(text)}) if has else layer
                for layer, has in zip(settings.network.layers, layers, strict=True)
            )
            settings = replace(settings, network=NetworkSpec(new))
            continue
        for part in ("optimizer", "schedule", ""):
            owner: Any = getattr(settings, part) if part else settings
            if name in owner.__dataclass_fields__:
                new_owner = replace(owner, **{name: _value(text)})
                settings = replace(settings, **{part: new_owner}) if part else new_owner
                break
        else:
            known = ["steps", "batch_size", *settings.optimizer.__dataclass_fields__]
            raise SpecError(f"a change must name what the settings have, but got {name!r}; {nearest(name, known)}")
    return settings


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def try_all(settings: Settings, dataset: Dataset, changes: Sequence[str], seeds: Sequence[int]) -> Iterator[Tried]:
    """Trains with each change and seed, seed by seed, and yields how well the validation images are told."""
    train, validation = dataset.split(SPLIT_SEED)
    images, labels = train.take()
    for seed in seeds:
        for change in changes:
            tried = changed(settings, change)
            side = NumPySide(tried, images, labels)
            ((_, seconds),) = laps(side, tried, seed, len(labels), every=tried.steps)
            accuracy = side.accuracy(*validation.take())
            yield Tried(
                change=change,
                seed=seed,
                steps=tried.steps,
                batch_size=tried.batch_size,
                accuracy=accuracy,
                seconds=seconds,
            )


def table(tried: Sequence[Tried], goal: float) -> str:
    """Returns a line of Markdown for each change, the one with the best mean first."""
    changes: dict[str, list[Tried]] = {}
    for each in tried:
        changes.setdefault(each.change, []).append(each)
    rows = []
    for change, group in changes.items():
        accuracies = [each.accuracy for each in group]
        s = spread([accuracy * 100 for accuracy in accuracies])
        reached = share(accuracies, goal)[0]
        seconds = spread([each.seconds for each in group]).median
        shown = group[0].steps * group[0].batch_size
        rows.append(
            (
                s.mean,
                f"| {change or 'as in `settings.toml`'} | {shown:,} | {s.mean:.3f} [{s.low:.3f}, {s.high:.3f}] "
                f"| {s.sd:.3f} | {s.least:.2f} | {reached} of {len(group)} | {seconds:.1f} |",
            )
        )
    head = (
        f"| change | images shown | mean, % [95 %] | sd | min | ≥ {goal:.0%} | s |",
        "|---|--:|--:|--:|--:|--:|--:|",
    )
    return "\n".join([*head, *(line for _, line in sorted(rows, reverse=True))])


def write(path: Path, tried: Sequence[Tried]) -> None:
    """Writes each training to a CSV.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_write(path, "w") as file:
        writer = csv.DictWriter(file, list(asdict(tried[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(each) for each in tried)
