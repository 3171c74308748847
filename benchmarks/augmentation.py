"""What augmentations cost beside a training step: each alone, and all together, in turns with the step.

python -m benchmarks.augmentation               # beside conv2; --net three: beside another net
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks.contenders import our_step, sample
from benchmarks.measure import Spread, alternate, limit_threads, spread
from benchmarks.nets import NAMES, named_case
from mnistnn.augment import AugmentationSpec, build_augmenters
from mnistnn.network import IMAGE_SHAPE
from mnistnn.registry import augmentation

__all__ = ["ALL", "main", "measure_augmentation"]

ALL = "all together"
_STEP = "step"
_ROUNDS = 30


def measure_augmentation(net: str, rounds: int = _ROUNDS) -> dict[str, tuple[Spread, Spread]]:
    """Measures every augmentation with its default values on one thread, on batches of real digits.

    Args:
        net: whose training step it is compared with.
        rounds: how many turns each has.

    Returns:
        By name, the milliseconds of a batch, and their part of the step's, round by round.
    """
    case = named_case(net)
    specs = {name: augmentation.get(name)() for name in augmentation.names()}
    rows = {name: [spec] for name, spec in specs.items()} | {ALL: [*specs.values()]}
    with limit_threads(1, torch=False):
        calls: dict[str, Callable[[int], object]] = {_STEP: our_step(case)}
        calls |= {name: _row(row, case.batch_size) for name, row in rows.items()}
        seconds = alternate(calls, rounds)
    return {name: (spread(1e3 * seconds[name]), spread(seconds[name] / seconds[_STEP])) for name in (_STEP, *rows)}


def _row(specs: list[AugmentationSpec], batch_size: int) -> Callable[[int], object]:
    """Returns what augments a batch, the number of the call saying which."""
    augmenters, rng = build_augmenters(specs, IMAGE_SHAPE, batch_size), np.random.default_rng(0)
    images, _ = sample()
    starts = range(0, len(images) - batch_size + 1, batch_size)

    def augment(number: int) -> object:
        start = starts[number % len(starts)]
        batch = images[start : start + batch_size]
        for augmenter in augmenters:
            batch = augmenter(batch, rng)
        return batch

    return augment


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=NAMES, default="conv2")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    chosen = parser.parse_args()
    print(f"{chosen.net}, {named_case(chosen.net).batch_size} images, one thread: median (middle four fifths)")
    for name, (ms, part) in measure_augmentation(chosen.net, chosen.rounds).items():
        shares = f"  {100 * part.middle:5.1f} % ({100 * part.low:.1f}–{100 * part.high:.1f})"
        print(f"{name:<14}{ms.middle:7.2f} ms ({ms.low:.2f}–{ms.high:.2f}){'' if name == _STEP else shares}")


if __name__ == "__main__":
    main()
