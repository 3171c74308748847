"""Images and labels: readers, sources, splits, batches."""

from __future__ import annotations

from mnistnn.data.batches import Batches
from mnistnn.data.dataset import Dataset, Split, TestSet, describe
from mnistnn.data.images import ImageFile, read_images
from mnistnn.data.sources import find_dataset

__all__ = ["Batches", "Dataset", "ImageFile", "Split", "TestSet", "describe", "find_dataset", "read_images"]
