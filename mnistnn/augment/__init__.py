"""One augmentation a file: a frozen Spec and the function that it builds. Those that warp are done as one."""

from mnistnn.augment._base import AugmentationSpec, Augmenter, Stage
from mnistnn.augment._composing import arrange, build_augmenters
from mnistnn.augment._resampling import rotation_maps, scaling_maps, shear_maps, warp
from mnistnn.augment._warping import AffineSpec, BendSpec, Maps, WarpSpec

__all__ = [
    "AffineSpec",
    "AugmentationSpec",
    "Augmenter",
    "BendSpec",
    "Maps",
    "Stage",
    "WarpSpec",
    "arrange",
    "build_augmenters",
    "rotation_maps",
    "scaling_maps",
    "shear_maps",
    "warp",
]
