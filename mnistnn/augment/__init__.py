"""One augmentation a file: a frozen Spec and the function that it builds."""

from mnistnn.augment._base import AugmentationSpec, Augmenter

__all__ = ["AugmentationSpec", "Augmenter"]
