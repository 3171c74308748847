"""How often `submit` would warn of images that are MNIST's own: parts of one half, held against the other half.

    python benchmarks/input_alarms.py [--draws 2000]

The halves are the first and the last 30,000 training images. No test image is opened.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from mnistnn.data import Likeness, find_dataset, unlike
from sweeps.paths import Paths, project_root

SIZES = {1: 1.0, 10: 0.5, 100: 0.2, 1000: 0.05}  # images a part, and how many of the draws have so many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="parts of one image (default: 2000)")
    draws = parser.parse_args().draws
    images = find_dataset(cache=Paths(project_root()).data).train_images
    middle = len(images) // 2
    halves = images[:middle], images[middle:]
    known = [Likeness.of(half) for half in halves]
    rng = np.random.default_rng(1)
    whole = sum(bool(unlike(halves[1 - index], known[index])) for index in range(2))
    print(f"{'images':>8}  {'parts':>6}  {'warned':>6}  of what")
    print(f"{middle:>8,}  {2:>6}  {whole:>6}")
    for size, share in SIZES.items():
        count, named = round(draws * share), Counter[str]()
        warned = 0
        for draw in range(count):
            chosen = np.sort(rng.choice(middle, size, replace=False))
            found = unlike(halves[draw % 2][chosen], known[1 - draw % 2])
            warned += bool(found)
            named.update(each.name for each in found)
        told = ", ".join(f"{name} {times}" for name, times in named.most_common())
        print(f"{size:>8,}  {count:>6,}  {warned:>6}  {told}".rstrip())


if __name__ == "__main__":
    main()
