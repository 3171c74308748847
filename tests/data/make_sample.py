"""Makes tests/data/mnist: a stratified sample of real MNIST, small enough to be kept in git.

    python tests/data/make_sample.py [FOLDER]

FOLDER holds MNIST's four files; without it they are found or fetched as `python -m sweeps data` does it. Opening the
test images is written down in the project's ledger, like any other opening.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

from mnistnn.data import find_dataset
from mnistnn.data.dataset import FILES, stratified
from mnistnn.data.idx import encode_idx
from mnistnn.files import atomic_write
from sweeps.paths import Paths, project_root

TRAIN, TEST, SEED = 1_800, 500, 0
TARGET = Path(__file__).parent / "mnist"


def main() -> None:
    paths = Paths(project_root())
    dataset = find_dataset(Path(sys.argv[1]) if sys.argv[1:] else None, cache=paths.data, progress=True)
    test = dataset.open_test("tests/data/make_sample.py", paths.test_ledger)
    rng = np.random.default_rng(SEED)
    train_chosen = stratified(dataset.train_labels, TRAIN, rng)
    test_chosen = stratified(test.labels, TEST, rng)
    arrays = (
        dataset.train_images[train_chosen],
        dataset.train_labels[train_chosen],
        test.images[test_chosen],
        test.labels[test_chosen],
    )
    for name, values in zip(FILES, arrays, strict=True):
        with atomic_write(TARGET / f"{name}.gz") as file:
            file.write(gzip.compress(encode_idx(values), 9, mtime=0))  # no time: the same images, the same bytes


if __name__ == "__main__":
    main()
