"""Networks worth knowing by name."""

from __future__ import annotations

from typing import Final

from mnistnn.architecture import Block, ConvNet
from mnistnn.augment.noise import Noise
from mnistnn.augment.rotation import Rotation
from mnistnn.augment.scaling import Scaling
from mnistnn.augment.shear import Shear
from mnistnn.augment.translation import Translation
from mnistnn.errors import SpecError, nearest
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.adamw import AdamW
from mnistnn.recipe import Recipe
from mnistnn.schedules import OneCycle
from mnistnn.training import TrainingSpec

__all__ = ["PRESETS", "architecture", "preset"]

_REPORT_TRAINING = TrainingSpec(epochs=5, batch_size=100, optimizer=Adam(learning_rate=1e-3))
_FAST_TRAINING = TrainingSpec(
    epochs=3,
    batch_size=100,
    optimizer=Adam(learning_rate=3e-3),
    schedule=OneCycle(),
    augment=(Translation(shift=2),),
)
_LONG_TRAINING = TrainingSpec(
    epochs=14,
    batch_size=100,
    optimizer=AdamW(learning_rate=4e-3, weight_decay=0.05),
    schedule=OneCycle(warmup=0.2),
    label_smoothing=0.05,
    ema=0.999,
    augment=(Noise(sigma=24.0), Rotation(degrees=12.0), Scaling(amount=0.12), Shear(amount=0.1), Translation(shift=3)),
)

_PRESETS: Final[dict[str, tuple[ConvNet, TrainingSpec]]] = {
    # The report's first task: three layers, as its author counted, with ReLU for the sigmoid.
    "mlp3": (ConvNet(dense_units=128), _REPORT_TRAINING),
    # The report's best single net.
    "report": (ConvNet(blocks=(Block(filters=32, kernel=5),), dropout=0.4), _REPORT_TRAINING),
    "conv2": (
        ConvNet(
            blocks=(Block(filters=32), Block(filters=64)),
            norm=BatchNormSpec(),
            dropout=0.3,
            dense_units=128,
            dense_dropout=0.3,
        ),
        _FAST_TRAINING,
    ),
    # The net of github.com/tuomaso/train_mnist_fast.
    "small": (
        ConvNet(blocks=(Block(filters=24, kernel=5), Block(filters=32)), padding="valid", dense_units=256),
        _FAST_TRAINING,
    ),
    # For contests: two dozen times the work of an image of `report`.
    "deep": (
        ConvNet(
            blocks=(Block(filters=32, kernel=5), Block(filters=48, convs=2), Block(filters=96, convs=2, pool=False)),
            norm=BatchNormSpec(),
            block_dropout=0.1,
            dropout=0.4,
            dense_units=128,
            dense_dropout=0.3,
        ),
        _LONG_TRAINING,
    ),
}

PRESETS: Final = tuple(_PRESETS)


def architecture(name: str) -> ConvNet:
    """Returns the preset's architecture.

    Raises:
        SpecError: there is no preset of that name.
    """
    return _lookup(name)[0]


def preset(name: str) -> Recipe:
    """Returns the preset: its network and how it is trained.

    Raises:
        SpecError: there is no preset of that name.
    """
    convnet, training = _lookup(name)
    return Recipe(convnet.network(), training)


def _lookup(name: str) -> tuple[ConvNet, TrainingSpec]:
    if name not in _PRESETS:
        raise SpecError(f"unknown preset {name!r}; {nearest(name, _PRESETS)}")
    return _PRESETS[name]
