"""What a checkpoint costs, as a share of the epoch after which it is written.

    MNIST_DIR=... python -m tests.stress.checkpoint_cost [report conv2 ...] [--epochs 3] [--folder .]

trains presets on the whole data set as a worker does, and prints a table. The median of the epochs counts: on a disk
that others use, one write in many takes long.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mnistnn.data import Dataset, find_dataset
from mnistnn.presets import PRESETS, preset
from sweeps.study import checkpoints
from sweeps.study.bench import build_trainer
from sweeps.study.lineage import trial_seed

__all__ = ["Cost", "main", "measure"]


@dataclass(frozen=True)
class Cost:
    """What was measured of one preset."""

    preset: str
    params: int
    megabytes: float  # of the file
    epoch_s: float  # without the checkpoint
    checkpoint_s: float

    @property
    def share(self) -> float:
        """The checkpoint's part of the epoch."""
        return self.checkpoint_s / self.epoch_s


def measure(name: str, data: Dataset, epochs: int, folder: Path) -> Cost:
    """Trains a preset with a checkpoint after each epoch."""
    train, validation = data.split(0)
    trainer = build_trainer(preset(name), trial_seed(0, 0), train, validation)
    epoch_s, checkpoint_s = [], []
    began = time.perf_counter()
    for _ in trainer.fit():
        trained = time.perf_counter()
        checkpoints.save(folder, trainer)
        saved = time.perf_counter()
        epoch_s.append(trained - began)
        checkpoint_s.append(saved - trained)
        if len(epoch_s) == epochs:
            break
        began = saved
    size = (folder / checkpoints.CHECKPOINT).stat().st_size
    return Cost(
        name, trainer.network.param_count, size / 1e6, statistics.median(epoch_s), statistics.median(checkpoint_s)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.checkpoint_cost", description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=", ".join(PRESETS) + " [report conv2]")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(), help="a folder on the disk that is measured [.]")
    chosen = parser.parse_args(arguments)
    print(f"{'preset':10}{'params':>10}{'file':>10}{'epoch':>10}{'checkpoint':>12}{'share':>8}")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        data = find_dataset(cache=Path(folder) / "cache")
        for name in chosen.presets or ["report", "conv2"]:
            place = Path(folder) / name
            place.mkdir()
            cost = measure(name, data, chosen.epochs, place)
            print(
                f"{cost.preset:10}{cost.params:>10,}{cost.megabytes:>7.1f} MB{cost.epoch_s:>8.2f} s"
                f"{1e3 * cost.checkpoint_s:>9.1f} ms{cost.share:>8.2%}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
