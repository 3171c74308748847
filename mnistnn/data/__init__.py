"""Images and labels: readers, sources, splits, batches."""

from __future__ import annotations

from mnistnn.data.batches import Batches
from mnistnn.data.dataset import Dataset, Split, TestSet, describe
from mnistnn.data.images import ImageFile, read_images
from mnistnn.data.likeness import Likeness, unlike
from mnistnn.data.mnist_like import all_as_mnist, as_mnist, has_light_ground
from mnistnn.data.photo import read_photo
from mnistnn.data.sources import find_dataset

__all__ = [
    "Batches",
    "Dataset",
    "ImageFile",
    "Likeness",
    "Split",
    "TestSet",
    "all_as_mnist",
    "as_mnist",
    "describe",
    "find_dataset",
    "has_light_ground",
    "read_images",
    "read_photo",
    "unlike",
]
