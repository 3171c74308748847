"""Batches of a split: drawn without replacement, gathered into buffers that are made once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mnistnn.data.checks import PIXELS, SIDE
from mnistnn.data.dataset import Split
from mnistnn.errors import SpecError
from mnistnn.types import UInt8s

__all__ = ["Batches"]


class Batches:
    """Goes through a split in a new order each epoch.

    Args:
        split: the images to go through.
        batch_size: how many a batch has; the last one of an epoch has what is left.

    Raises:
        SpecError: `batch_size` is below 1.
    """

    def __init__(self, split: Split, batch_size: int) -> None:
        if batch_size < 1:
            raise SpecError(f"`batch_size >= 1` must hold, but got (batch_size={batch_size}).")
        self.batch_size = batch_size
        rows = min(batch_size, len(split))
        self._indices = split.indices
        self._order = split.indices.copy()  # (n,)
        self._all_images = np.asarray(split.images).reshape(-1, PIXELS)  # (N, 784), on the file
        self._all_labels = split.labels.astype(np.int64)  # (N,)
        self._images: UInt8s = np.empty((rows, PIXELS), np.uint8)
        self._labels: NDArray[np.int64] = np.empty(rows, np.int64)

    def __len__(self) -> int:
        """Returns the number of batches in an epoch."""
        return -(-len(self._indices) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[tuple[UInt8s, NDArray[np.int64]]]:
        """Yields each image of the split once; the order depends on the state of `rng` alone.

        The arrays are this object's own and hold until the next batch.

        Shape: → (b, 28, 28) uint8, (b,) int64
        """
        np.copyto(self._order, self._indices)
        rng.shuffle(self._order)
        images, labels = self._images.reshape(-1, SIDE, SIDE), self._labels
        for start in range(0, len(self._order), self.batch_size):
            chosen = self._order[start : start + self.batch_size]
            rows = len(chosen)
            # Indices are in range; with any other mode `out` would be filled by way of a copy.
            np.take(self._all_images, chosen, axis=0, out=self._images[:rows], mode="clip")
            np.take(self._all_labels, chosen, out=self._labels[:rows], mode="clip")
            yield images[:rows], labels[:rows]
