"""Composing: several augmentations as a row of augmenters, all that warp in one of them."""

from __future__ import annotations

from collections.abc import Sequence

from mnistnn.augment._base import AugmentationSpec, Augmenter
from mnistnn.augment._warping import Warper, WarpSpec
from mnistnn.types import Shape

__all__ = ["arrange", "build_augmenters"]


def arrange(specs: Sequence[AugmentationSpec]) -> list[tuple[AugmentationSpec, ...]]:
    """Returns in what order augmentations apply, those together that are done as one; what changes nothing is left out.

    The order is that of their stages; within one they stay in the order given. Warps are done as one where one of them
    interpolates: each of them by itself would blur.
    """
    active = sorted((spec for spec in specs if not spec.is_idle), key=lambda spec: spec.stage)
    warps = [spec for spec in active if isinstance(spec, WarpSpec)]
    if len(warps) < 2 or not any(spec.resamples for spec in warps):
        return [(spec,) for spec in active]
    arranged: list[tuple[AugmentationSpec, ...]] = []
    for spec in active:
        if spec is warps[0]:
            arranged.append(tuple(warps))
        elif not any(spec is warp for warp in warps):
            arranged.append((spec,))
    return arranged


def build_augmenters(
    specs: Sequence[AugmentationSpec], image_shape: Shape = (28, 28), max_batch: int = 100
) -> list[Augmenter]:
    """Builds one augmenter for each group of `arrange`, to be applied one after the other."""
    return [_build(group, image_shape, max_batch) for group in arrange(specs)]


def _build(group: Sequence[AugmentationSpec], image_shape: Shape, max_batch: int) -> Augmenter:
    if len(group) == 1:
        return group[0].build(image_shape, max_batch)
    return Warper([spec for spec in group if isinstance(spec, WarpSpec)], image_shape, max_batch)
