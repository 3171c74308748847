"""Training: one epoch after another, each yielded with its metrics."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Annotated, Any, Final

import numpy as np

from mnistnn.augment import build_augmenters
from mnistnn.averaging import MovingAverage
from mnistnn.data.batches import Batches
from mnistnn.data.dataset import Split
from mnistnn.domains import FloatRange, IntRange
from mnistnn.epochs import MONITORS, EpochMetrics, evaluate, follow, history_frame, validation_figures
from mnistnn.errors import Diverged, SpecError, Stopped, nearest
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import IMAGE_SHAPE, Network, Snapshot, child_seed
from mnistnn.optimizers import State
from mnistnn.optimizers.adam import Adam
from mnistnn.registry import augmentation, optimizer, schedule
from mnistnn.schedules import Constant
from mnistnn.spec import Spec, later
from mnistnn.types import Ints, UInt8s

__all__ = ["EpochMetrics", "Trainer", "TrainingSpec", "evaluate", "follow", "history_frame"]

_STATES_IMAGES: Final = 2000
"""How many training images the running statistics of averaged weights are estimated from. Those of the weights in
training come to as much: with a momentum of 0.1 they are worth 19 batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec(Spec):
    """How a network is trained.

    `optimizer` carries the learning rate and `schedule` scales it from step to step. Validation happens each
    `validate_every` epochs, and after the last. Where `ema` is not 0, it is the decay of a moving average of the
    weights (see `MovingAverage`), and this average is what is validated and kept; the training goes on with its own.
    """

    epochs: Annotated[int, IntRange(1, 1000)] = 5
    batch_size: Annotated[int, IntRange(1, 1000)] = 100
    optimizer: Any = Adam()
    schedule: Any = Constant()
    label_smoothing: Annotated[float, FloatRange(0.0, 0.5)] = 0.0
    augment: tuple[Any, ...] = ()
    validate_every: Annotated[int, IntRange(1, 1000)] = 1
    ema: Annotated[float, FloatRange(0.0, 0.9999)] = later(0.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON and TOML can hold."""
        return self.written() | {
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


class Trainer:
    """A training that can be left after any epoch, saved, and gone on with to the same weights.

    Args:
        network: what learns. Its own seed drew the weights.
        spec: how.
        train: the images to learn from.
        validation: the images to choose the best epoch by, if any.
        seed: of the shuffling and the augmentation.
        monitor: the best epoch is chosen by it: "val_loss", "val_accuracy", or "val_calibrated_loss", the loss after
            the temperature that lowers it most, as smoothed labels spoil the plain one.
        shifted: the validation images again, each a little aside. They are validated on too, and the best epoch is
            chosen by the mean of both.

    Raises:
        SpecError: network, training and labels do not fit one another.

    Attributes:
        history: the metrics of the epochs so far.
        epoch: how many epochs are done.
        step: how many optimizer steps are done.
        steps_per_epoch: how many an epoch has.
        images_per_epoch: the images that it goes through.
        best_epoch: the best validated epoch so far; 0 before the first.
        average: of the weights over the steps so far, if the training has one.
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
        shifted: UInt8s | None = None,
    ) -> None:
        if network.batch_size < spec.batch_size:
            raise SpecError(
                f"a network must hold a batch of the training, but its batch_size={network.batch_size} is below "
                f"{spec.batch_size}; build it for as many, or train in smaller batches."
            )
        if monitor not in MONITORS:
            raise SpecError(f"`monitor` must be one of {', '.join(MONITORS)}, but got {monitor!r}.")
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
        self.average = MovingAverage(network.arena, spec.ema) if spec.ema else None
        self.rngs = {
            "shuffle": np.random.Generator(np.random.PCG64(child_seed(seed, 0))),
            "augment": np.random.Generator(np.random.PCG64(child_seed(seed, 1))),
            **network.rngs,
        }
        self._monitor, self._seed = monitor, seed
        self.batches = Batches(train, spec.batch_size)
        self.steps_per_epoch = math.ceil(len(train) / spec.batch_size)
        self.images_per_epoch = len(train)
        self._validation = None if validation is None else validation.take()
        if shifted is not None and (self._validation is None or len(shifted) != len(self._validation[1])):
            raise SpecError(f"shifted images must be those to validate on, moved, but got {len(shifted):,} others.")
        self._shifted = shifted
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
            metrics = self._validate(self._train_epoch(stop))
            self.epoch += 1
            self.history.append(metrics)
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
        """Puts what the training came to into the network: the best validated epoch's weights and statistics.

        Where no epoch was validated they are the averaged ones, or without an average the last, which are there.
        """
        if self.best is not None:
            self.network.restore(self.best)
        elif self.average is not None:
            with self.averaged() as network:
                kept = network.snapshot()
            self.network.restore(kept)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Network]:
        """Lets the network hold, for as long as the context lasts, the weights that are validated and kept.

        These are the averaged ones, with running statistics of their own: estimated afresh from training images,
        augmented as in training, by draws that follow from the seed and the step alone. Without an average the network
        stays as it is.
        """
        network, average = self.network, self.average
        if average is None:
            yield network
            return
        raw = network.snapshot()
        try:
            network.arena.params[...] = average.params
            network.estimate_states(self._some_batches())
            yield network
        finally:
            network.restore(raw)

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
        return EpochMetrics(
            epoch=self.epoch + 1,
            train_loss=total / self.images_per_epoch,
            train_accuracy=correct / self.images_per_epoch,
            val_loss=None,
            val_accuracy=None,
            seconds=seconds,
            images_per_s=self.images_per_epoch / seconds,
            learning_rate=rate,
        )

    def _train_step(self, images: UInt8s, labels: Ints) -> float:
        """Takes one step and returns its learning rate."""
        images = self._augment(images, self.rngs["augment"])
        network, spec = self.network, self.spec
        loss = self.loss.forward(network.forward(images, train=True), labels)
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {self.epoch + 1}, step {self.step + 1}")
        network.backward(self.loss.backward())
        total_steps = spec.epochs * self.steps_per_epoch
        rate = float(spec.optimizer.learning_rate * spec.schedule.factor(self.step, total_steps))
        self.step += 1
        self.update(self.optimizer_state, network.arena, learning_rate=rate, step=self.step)
        if self.average is not None:
            self.average.update(self.step)
        return rate

    def _augment(self, images: UInt8s, rng: np.random.Generator) -> UInt8s:
        for augmenter in self.augmenters:
            images = augmenter(images, rng)
        return images

    def _some_batches(self) -> Iterator[UInt8s]:
        """Yields batches of training images for the running statistics of averaged weights; see `averaged`."""
        rng = np.random.Generator(np.random.PCG64(child_seed(self._seed, 2, self.step)))
        for images, _ in islice(self.batches.epoch(rng), math.ceil(_STATES_IMAGES / self.spec.batch_size)):
            yield self._augment(images, rng)

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def _validate(self, trained: EpochMetrics) -> EpochMetrics:
        """Returns an epoch's metrics with those of its validation, and keeps its weights where it is the best so far.

        They are copied, for training goes on changing them.
        """
        number, spec = trained.epoch, self.spec
        if self._validation is None or (number % spec.validate_every and number != spec.epochs):
            return trained
        images, labels = self._validation
        with self.averaged() as network:
            figures = validation_figures(network, images, labels, self._monitor)
            if self._shifted is not None:
                found = validation_figures(network, self._shifted, labels, self._monitor)
                figures |= {f"shifted_{name}": value for name, value in found.items()}
            metrics = replace(trained, **figures)
            if not math.isfinite(loss := metrics.value("val_loss") or 0.0):
                raise Diverged(f"the validation loss is {loss} after epoch {number}")
            if self._is_best(metrics):
                self.best_epoch, self.best = number, network.snapshot()
        return metrics

    def _is_best(self, metrics: EpochMetrics) -> bool:
        """Says whether a validated epoch is better than all before it."""
        if self.best_metrics is None:
            return True
        value, known = (each.value(self._monitor) or 0.0 for each in (metrics, self.best_metrics))
        return value > known if MONITORS[self._monitor] else value < known
