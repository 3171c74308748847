"""What an epoch of a trial has to do, counted from its network and training without running either."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mnistnn.augment import WarpSpec, arrange

if TYPE_CHECKING:
    from mnistnn.network import Network
    from mnistnn.training import TrainingSpec

__all__ = ["KINDS", "Counts", "Workload", "epoch_workload", "image_counts"]

Workload = NDArray[np.float64]
"""How much there is of each of `KINDS` in an epoch."""

Counts = Mapping[str, float]
"""How much a training image asks for of each kind, whatever the optimizer and the batch."""

KINDS: Final = (
    "epochs",
    "steps",
    "images",
    "layer_calls",  # what Python and NumPy take to call a layer, however small the batch
    "first_conv_macs",  # a convolution that owes no gradient of its input does two products, others three
    "conv_macs",
    "first_patches",  # numbers unfolded into rows of patches
    "patches",
    "patches_back",  # the same of the gradient, for that of the input
    "map_numbers",  # what convolutions give out: bias, activation and pool go over it
    "normed_numbers",
    "drawn_numbers",  # by layers that draw, such as dropout
    "other_numbers",  # that any other layer goes over
    "dense_macs",
    "vector_numbers",  # of params, grads, the optimizer's vectors and a moving average, at each step
    "augmented_images",  # times the augmentations that interpolate nothing
    "warped_images",  # that are resampled, by however many warps
)
"""The kinds of work that an epoch is made of, each with a cost of its own."""


def image_counts(network: Network) -> Counts:
    """Counts what one image asks of a network's layers, and "params" and "layers", which each step asks for once.

    It goes by what every layer says of itself, so a new kind of layer is counted too. How the fused plan does the work
    is left to the costs.
    """
    counts = dict.fromkeys((*KINDS, "params", "layers"), 0.0)
    counts["params"], counts["layers"] = network.param_count, len(network.layers)
    learns = False
    for built in network.layers.values():
        numbers, taken = math.prod(built.out_shape), math.prod(built.in_shape)
        if built.macs and len(built.in_shape) == 3:
            first = "" if learns else "first_"
            counts[f"{first}conv_macs"] += built.macs
            counts[f"{first}patches"] += built.macs / built.out_shape[-1]
            if learns:
                counts["patches_back"] += built.macs / built.in_shape[-1]
            counts["map_numbers"] += numbers
        elif built.macs:
            counts["dense_macs"] += built.macs
        elif built.params:
            counts["normed_numbers"] += numbers
        elif built.rng is not None:
            counts["drawn_numbers"] += numbers
        elif learns:  # what lies before the first params is the input's own
            counts["other_numbers"] += taken
        learns = learns or bool(built.params)
    return counts


def epoch_workload(counts: Counts, training: TrainingSpec, images: int) -> Workload:
    """Returns what an epoch over so many images comes to, validation and checkpoint with it.

    Args:
        counts: of its network.
        training: how it is trained.
        images: how many are trained on; those to validate on are a fixed part of them, and so in the costs.
    """
    steps = math.ceil(images / training.batch_size)
    warped = [
        any(isinstance(spec, WarpSpec) and spec.resamples for spec in group) for group in arrange(training.augment)
    ]
    amounts = {name: images * counts[name] for name in KINDS}
    amounts |= {
        "epochs": 1,
        "steps": steps,
        "images": images,
        "layer_calls": steps * counts["layers"],
        "vector_numbers": steps * counts["params"] * (2 + len(training.optimizer.vectors) + bool(training.ema)),
        "augmented_images": images * warped.count(False),
        "warped_images": images * warped.count(True),
    }
    return np.array([amounts[name] for name in KINDS], np.float64)
