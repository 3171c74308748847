"""Training: one epoch after another, each yielded with its metrics."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from mnistnn.augment import build_augmenters
from mnistnn.data.batches import Batches
from mnistnn.data.dataset import Split
from mnistnn.domains import FloatRange, IntRange
from mnistnn.errors import Diverged, SpecError, Stopped, nearest
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import IMAGE_SHAPE, Network, Snapshot, child_seed
from mnistnn.optimizers import State
from mnistnn.optimizers.adam import Adam
from mnistnn.registry import augmentation, optimizer, schedule
from mnistnn.schedules import Constant
from mnistnn.spec import Spec
from mnistnn.types import Images, Ints, UInt8s

if TYPE_CHECKING:
    import pandas

__all__ = ["EpochMetrics", "Trainer", "TrainingSpec", "evaluate", "follow", "history_frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec(Spec):
    """How a network is trained.

    `optimizer` carries the learning rate and `schedule` scales it from step to step. Validation happens each
    `validate_every` epochs, and after the last.
    """

    epochs: Annotated[int, IntRange(1, 1000)] = 5
    batch_size: Annotated[int, IntRange(1, 1000)] = 100
    optimizer: Any = Adam()
    schedule: Any = Constant()
    label_smoothing: Annotated[float, FloatRange(0.0, 0.5)] = 0.0
    augment: tuple[Any, ...] = ()
    validate_every: Annotated[int, IntRange(1, 1000)] = 1

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON and TOML can hold."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {
            "optimizer": optimizer.to_dict(self.optimizer),
            "schedule": schedule.to_dict(self.schedule),
            "augment": [augmentation.to_dict(spec) for spec in self.augment],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingSpec:
        """Builds what `to_dict` wrote; what is left out takes its default.

        Raises:
            SpecError: an unknown name, or a value that is not legal.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise SpecError(f"a training has no field {name!r}; {nearest(name, known)}")
        given = dict(values)
        if "optimizer" in given:
            given["optimizer"] = optimizer.from_dict(given["optimizer"])
        if "schedule" in given:
            given["schedule"] = schedule.from_dict(given["schedule"])
        if "augment" in given:
            given["augment"] = tuple(augmentation.from_dict(spec) for spec in given["augment"])
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMetrics:
    """What is known after an epoch. Losses are cross-entropies without label smoothing; accuracies lie in 0 to 1.

    The training figures are means over the epoch's batches as they were trained on: augmented, with dropout, while
    the weights moved. `val_loss` and `val_accuracy` are None where the epoch was not validated.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    images_per_s: float
    learning_rate: float


def evaluate(network: Network, images: Images, labels: Ints) -> tuple[float, float]:
    """Returns the mean cross-entropy and the accuracy, batch by batch, from logits.

    Shape:
        images: (N, 28, 28) in pixel units; labels: (N,)
    """
    loss = SoftmaxCrossEntropy(network.classes, network.batch_size, dtype=network.arena.dtype)
    total, correct = 0.0, 0
    for start in range(0, len(images), network.batch_size):
        rows = slice(start, start + network.batch_size)
        total += loss.forward(network.forward(images[rows]), labels[rows]) * len(labels[rows])
        correct += loss.correct
    return total / len(images), correct / len(images)


class Trainer:
    """A training that can be left after any epoch, saved, and gone on with to the same weights.

    Args:
        network: what learns. Its own seed drew the weights.
        spec: how.
        train: the images to learn from.
        validation: the images to choose the best epoch by, if any.
        seed: of the shuffling and the augmentation.
        monitor: "val_loss" or "val_accuracy": by which the best epoch is chosen.

    Raises:
        SpecError: network, training and labels do not fit one another.

    Attributes:
        history: the metrics of the epochs so far.
        epoch: how many epochs are done.
        step: how many optimizer steps are done.
        steps_per_epoch: how many an epoch has.
        images_per_epoch: the images that it goes through.
        best_epoch: the best validated epoch so far; 0 before the first.
        batches, augmenters, loss, update: what a step is made of, besides the network; a profile puts clocks on them.
    """

    def __init__(
        self,
        network: Network,
        spec: TrainingSpec,
        train: Split,
        validation: Split | None = None,
        *,
        seed: int | np.random.SeedSequence = 0,
        monitor: str = "val_loss",
    ) -> None:
        if network.batch_size < spec.batch_size:
            raise SpecError(
                f"a network must hold a batch of the training, but its batch_size={network.batch_size} is below "
                f"{spec.batch_size}; build it for as many, or train in smaller batches."
            )
        if monitor not in ("val_loss", "val_accuracy"):
            raise SpecError(f"`monitor` must be val_loss or val_accuracy, but got {monitor!r}.")
        for split in (train, validation):
            if split is not None and (largest := int(split.labels.max())) >= network.classes:
                raise SpecError(
                    f"a network must have an output for each class, but got the label {largest} and "
                    f"{network.classes} outputs; give its last layer more units."
                )
        self.network = network
        self.spec = spec
        self.history: list[EpochMetrics] = []
        self.epoch = self.step = self.best_epoch = 0
        self.best: Snapshot | None = None
        self.optimizer_state: State = spec.optimizer.init(network.arena)
        self.update: Callable[..., None] = spec.optimizer.update
        self.rngs = {
            "shuffle": np.random.Generator(np.random.PCG64(child_seed(seed, 0))),
            "augment": np.random.Generator(np.random.PCG64(child_seed(seed, 1))),
            **network.rngs,
        }
        self._monitor = monitor
        self.batches = Batches(train, spec.batch_size)
        self.steps_per_epoch = math.ceil(len(train) / spec.batch_size)
        self.images_per_epoch = len(train)
        self._validation = None if validation is None else validation.take()
        self.augmenters = build_augmenters(spec.augment, IMAGE_SHAPE, spec.batch_size)
        self.loss = SoftmaxCrossEntropy(
            network.classes, spec.batch_size, label_smoothing=spec.label_smoothing, dtype=network.arena.dtype
        )

    def fit(self, stop: Callable[[], bool] = lambda: False) -> Iterator[EpochMetrics]:
        """Trains the epochs that are still to do, and yields after each.

        Args:
            stop: asked before each step; when it says True the training stops there.

        Raises:
            Stopped: `stop` said so. The network is between two steps of an epoch that does not count: to go on,
                load the last checkpoint.
            Diverged: a batch's loss was not a finite number.
        """
        while self.epoch < self.spec.epochs:
            metrics = self._train_epoch(stop)
            self.epoch += 1
            self.history.append(metrics)
            self._keep_best(metrics)
            yield metrics

    def replan(self, epochs: int) -> None:
        """Lays the training out for another number of epochs, from where it stands.

        What was trained stays as it is. From here on the schedule gives the learning rate that it would give at this
        step of a training of `epochs` epochs, so it may jump: one that had run out begins to fall again from higher up.

        Args:
            epochs: in all, those that are done included.

        Raises:
            SpecError: more are done already, or it is no legal number of epochs.
        """
        if epochs < self.epoch:
            raise SpecError(
                f"a training must have the epochs that are done, {self.epoch}, but got {epochs}; give more."
            )
        self.spec = replace(self.spec, epochs=epochs)

    def restore_best(self) -> None:
        """Puts the best validated epoch's weights and statistics back into the network, if there was one."""
        if self.best is not None:
            self.network.restore(self.best)

    @property
    def best_metrics(self) -> EpochMetrics | None:
        """The metrics of the best validated epoch, if there was one."""
        return self.history[self.best_epoch - 1] if self.best_epoch else None

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what diverges says so by its loss
    def _train_epoch(self, stop: Callable[[], bool]) -> EpochMetrics:
        began = time.perf_counter()
        total, correct, rate = 0.0, 0, 0.0
        for images, labels in self.batches.epoch(self.rngs["shuffle"]):
            if stop():
                raise Stopped(f"asked to stop in epoch {self.epoch + 1}")
            rate = self._train_step(images, labels)
            total += self.loss.plain_loss * len(labels)
            correct += self.loss.correct
        seconds = time.perf_counter() - began
        number = self.epoch + 1
        val_loss = val_accuracy = None
        if self._validation and (number % self.spec.validate_every == 0 or number == self.spec.epochs):
            val_loss, val_accuracy = evaluate(self.network, *self._validation)
            if not math.isfinite(val_loss):
                raise Diverged(f"the validation loss is {val_loss} after epoch {number}")
        return EpochMetrics(
            epoch=number,
            train_loss=total / self.images_per_epoch,
            train_accuracy=correct / self.images_per_epoch,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=seconds,
            images_per_s=self.images_per_epoch / seconds,
            learning_rate=rate,
        )

    def _train_step(self, images: UInt8s, labels: Ints) -> float:
        """Takes one step and returns its learning rate."""
        for augmenter in self.augmenters:
            images = augmenter(images, self.rngs["augment"])
        network, spec = self.network, self.spec
        loss = self.loss.forward(network.forward(images, train=True), labels)
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {self.epoch + 1}, step {self.step + 1}")
        network.backward(self.loss.backward())
        total_steps = spec.epochs * self.steps_per_epoch
        rate = float(spec.optimizer.learning_rate * spec.schedule.factor(self.step, total_steps))
        self.step += 1
        self.update(self.optimizer_state, network.arena, learning_rate=rate, step=self.step)
        return rate

    def _keep_best(self, metrics: EpochMetrics) -> None:
        """Copies the weights where the epoch is the best so far: a copy, for training goes on changing them."""
        value = getattr(metrics, self._monitor)
        if value is None:
            return
        best = self.best_metrics
        if best is not None:
            known = getattr(best, self._monitor)
            if not (value < known if self._monitor == "val_loss" else value > known):
                return
        self.best_epoch = metrics.epoch
        self.best = self.network.snapshot()


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

    names = [field.name for field in fields(EpochMetrics)]
    return pandas.DataFrame([asdict(metrics) for metrics in history], columns=names)
