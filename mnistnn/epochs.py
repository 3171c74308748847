"""Epochs one by one: what is known after each, how it is validated, and all of them as a table or under a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.metrics import calibrated_loss
from mnistnn.network import Network
from mnistnn.types import Floats, Images, Ints

if TYPE_CHECKING:
    import pandas

    from mnistnn.training import Trainer

__all__ = [
    "MONITORS",
    "VALIDATED",
    "EpochMetrics",
    "evaluate",
    "follow",
    "history_frame",
    "metric_names",
    "validation_figures",
]

#: By what epochs can be judged, and whether more of it is better.
MONITORS: Final = {"val_loss": False, "val_accuracy": True, "val_calibrated_loss": False}

#: What of an epoch's metrics comes of its validation.
VALIDATED: Final = (
    "val_loss",
    "val_accuracy",
    "shifted_val_loss",
    "shifted_val_accuracy",
    "val_calibrated_loss",
    "shifted_val_calibrated_loss",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """What is known after an epoch. Losses are cross-entropies without label smoothing; accuracies lie in 0 to 1.

    The training figures are means over the epoch's batches as they were trained on: augmented, with dropout, while
    the weights moved. The others are None where the epoch was not validated: those on `shifted` images also where
    there are none, and the `calibrated` losses, after the temperature that lowers each most, where nothing is judged
    by them.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    images_per_s: float
    learning_rate: float
    shifted_val_loss: float | None = None
    shifted_val_accuracy: float | None = None
    val_calibrated_loss: float | None = None
    shifted_val_calibrated_loss: float | None = None

    def value(self, metric: str) -> float | None:
        """Returns what the epoch is judged by, None if it was not validated.

        Args:
            metric: one of `MONITORS`; where the epoch was validated on shifted images too, it is the mean of both.
        """
        plain: float | None = getattr(self, metric)
        shifted: float | None = getattr(self, f"shifted_{metric}")
        return plain if plain is None or shifted is None else (plain + shifted) / 2


def metric_names(history: Iterable[EpochMetrics]) -> list[str]:
    """Returns the names of the metrics of a history; those that not every training has only where there are any."""
    known = list(history)
    return [
        field.name
        for field in fields(EpochMetrics)
        if field.default is not None or any(getattr(metrics, field.name) is not None for metrics in known)
    ]


def evaluate(network: Network, images: Images, labels: Ints, logits: Floats | None = None) -> tuple[float, float]:
    """Returns the mean cross-entropy and the accuracy, batch by batch, from logits.

    Args:
        network: what is evaluated.
        images: the images.
        labels: their classes.
        logits: where the network's outputs are put, if they are wanted.

    Shape:
        images: (N, 28, 28) in pixel units; labels: (N,); logits: (N, classes)
    """
    loss = SoftmaxCrossEntropy(network.classes, network.batch_size, dtype=network.arena.dtype)
    total, correct = 0.0, 0
    for start in range(0, len(images), network.batch_size):
        rows = slice(start, start + network.batch_size)
        outputs = network.forward(images[rows])
        if logits is not None:
            logits[rows] = outputs
        total += loss.forward(outputs, labels[rows]) * len(labels[rows])
        correct += loss.correct
    return total / len(images), correct / len(images)


def validation_figures(network: Network, images: Images, labels: Ints, monitor: str) -> dict[str, Any]:
    """Returns what `evaluate` finds, by the names that an epoch's metrics have, and the figure of `monitor`.

    Shape:
        images: (N, 28, 28) in pixel units; labels: (N,)
    """
    if monitor != "val_calibrated_loss":
        return dict(zip(("val_loss", "val_accuracy"), evaluate(network, images, labels), strict=True))
    logits = np.empty((len(images), network.classes), network.arena.dtype)
    loss, accuracy = evaluate(network, images, labels, logits)
    return {"val_loss": loss, "val_accuracy": accuracy, monitor: calibrated_loss(labels, logits)}


def follow(
    trainer: Trainer, *, progress: bool = True, stop: Callable[[], bool] = lambda: False
) -> Iterator[EpochMetrics]:
    """Runs a training under a tqdm bar of its epochs, where standard error is a terminal, or a notebook's.

    Args:
        trainer: what to run.
        progress: False runs it without a bar.
        stop: as in `Trainer.fit`.
    """
    from tqdm import tqdm

    in_notebook = "ipykernel" in sys.modules  # which shows a bar, but does not call itself a terminal
    hidden = None if progress and not in_notebook else not progress  # None: tqdm itself looks for the terminal
    with tqdm(total=trainer.spec.epochs, initial=trainer.epoch, unit="epoch", disable=hidden) as bar:
        for metrics in trainer.fit(stop):
            shown = {"loss": metrics.train_loss, "val_loss": metrics.val_loss, "val_acc": metrics.val_accuracy}
            bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items() if value is not None}, refresh=False)
            bar.update()
            yield metrics


def history_frame(history: list[EpochMetrics]) -> pandas.DataFrame:
    """Returns the history as a table, one row an epoch; what was not validated is missing, not forgotten."""
    import pandas

    return pandas.DataFrame([asdict(metrics) for metrics in history], columns=metric_names(history))
