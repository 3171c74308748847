"""A convolutional network in NumPy: layers, optimizers, training, checkpoints; each imported when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnistnn.architecture import Block, ConvNet
    from mnistnn.checkpoint import load_model, save_model
    from mnistnn.network import Network, NetworkSpec
    from mnistnn.presets import preset
    from mnistnn.recipe import Recipe
    from mnistnn.training import EpochMetrics, Trainer, TrainingSpec

__all__ = [
    "Block",
    "ConvNet",
    "EpochMetrics",
    "Network",
    "NetworkSpec",
    "Recipe",
    "Trainer",
    "TrainingSpec",
    "load_model",
    "preset",
    "save_model",
]

_HOMES = {
    "Block": "architecture",
    "ConvNet": "architecture",
    "EpochMetrics": "training",
    "Network": "network",
    "NetworkSpec": "network",
    "Recipe": "recipe",
    "Trainer": "training",
    "TrainingSpec": "training",
    "load_model": "checkpoint",
    "preset": "presets",
    "save_model": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mnistnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mnistnn.{_HOMES[name]}"), name)
