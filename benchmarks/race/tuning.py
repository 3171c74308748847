"""Which training the race shall use: chosen by validation images alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.race.settings import Settings, changed
from benchmarks.race.sides import NumPySide, laps
from benchmarks.race.summary import share, spread
from mnistnn.data import Dataset
from mnistnn.files import atomic_write

__all__ = ["CHANGES", "FIRST_SEED", "SPLIT_SEED", "Tried", "table", "try_all", "write"]

SPLIT_SEED = 0
FIRST_SEED = 1000
"""Races begin at 0; no training here has a race's weights or order."""

CHANGES = (
    "",
    "steps=500",
    "steps=600",
    "steps=800",
    "learning_rate=0.02",
    "learning_rate=0.04",
    "warmup=0.2",
    "warmup=0.3",
    "beta1=0.9 beta2=0.999",
    "batch_size=64 steps=1400 learning_rate=0.02",
    "batch_size=256 steps=350",
    "init_scale=0.5",
    "filters=[12,32]",
    "filters=[8,48]",
    "filters=[24,32] dense_units=256",
    "norm=false learning_rate=0.01",
    # github.com/tuomaso/train_mnist_fast: one epoch of 60,000 images.
    "norm=false learning_rate=0.01 warmup=0.3 filters=[24,32] dense_units=256 batch_size=256 steps=235",
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
