"""How the peer trains: PyTorch on one thread of a CPU, as its documentation has it.

Where it can be had faster at no cost, it is: channels_last, pools before ReLUs, fused optimizers, and the images in
memory, moved and scaled a batch at a time without a DataLoader. First weights are drawn as this project draws them:
PyTorch's own make `mlp3` a little worse.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.race.sides import pool_first
from benchmarks.torch_nets import copy_params, torch_images, torch_network, torch_optimizer
from mnistnn.augment.translation import Translation
from mnistnn.data.dataset import Dataset
from mnistnn.network import Network, NetworkSpec
from mnistnn.recipe import Recipe
from mnistnn.schedules import Constant, OneCycle
from mnistnn.training import TrainingSpec

__all__ = ["Images", "Progress", "make_net", "make_scheduler", "train"]

_EVALUATED = 200  # images at once; of 50 to 1,000 none is faster on all nets


def make_net(spec: NetworkSpec, seed: np.random.SeedSequence) -> torch.nn.Module:
    """Returns the net with its first weights; all that is random from here on follows from the seed, too."""
    torch.manual_seed(int(seed.generate_state(1)[0]))
    net = torch_network(pool_first(spec))
    copy_params(Network(spec, batch_size=1, seed=seed), net)
    return net.to(memory_format=torch.channels_last)


class Images:
    """The study's own split, as tensors in memory.

    Args:
        dataset: where from.
        seed: of the split.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        training, validation = dataset.split(seed)
        self.train_images, labels = training.take()  # (N, 28, 28) uint8
        self.train_labels = torch.from_numpy(labels.astype(np.int64))  # (N,)
        self.val_images, labels = validation.take()  # (M, 28, 28) uint8
        self.val_labels = torch.from_numpy(labels.astype(np.int64))  # (M,)

    def batches(self, spec: NetworkSpec, training: TrainingSpec) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields each training image once, in a new order, moved at random as the training has it.

        Shape: → (B, 1, 28, 28) float32 in channels_last, (B,) int64
        """
        shift = _shift(training)
        places = torch.from_numpy(np.pad(self.train_images, ((0, 0), (shift, shift), (shift, shift))))
        places = places.unfold(1, 28, 1).unfold(2, 28, 1)  # a view: (N, 2 · shift + 1, 2 · shift + 1, 28, 28)
        for rows in torch.randperm(len(places)).split(training.batch_size):
            down, right = torch.randint(0, 2 * shift + 1, (2, len(rows)))
            moved = places[rows, down, right].numpy()
            yield torch_images(spec, moved, channels_last=True), self.train_labels[rows]


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known after an epoch. Shape: probs: (M, 10), of the validation images."""

    epoch: int
    metrics: dict[str, float]
    probs: torch.Tensor


def train(net: torch.nn.Module, recipe: Recipe, images: Images) -> Iterator[Progress]:
    """Trains a net as the recipe says, and yields after each epoch."""
    training = recipe.training
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=training.label_smoothing)
    optimizer: Any = torch_optimizer(training.optimizer, net)
    scheduler = make_scheduler(optimizer, training, math.ceil(len(images.train_labels) / training.batch_size))
    val_pixels = torch_images(recipe.network, images.val_images, channels_last=True)
    for epoch in range(1, training.epochs + 1):
        began, total = time.perf_counter(), 0.0
        net.train()
        for pixels, labels in images.batches(recipe.network, training):
            optimizer.zero_grad()
            loss = criterion(net(pixels), labels)
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            total += loss.item() * len(labels)
        net.eval()
        with torch.inference_mode():
            logits = torch.cat([net(part) for part in val_pixels.split(_EVALUATED)])
        probs = logits.softmax(1)
        metrics = {
            "train_loss": total / len(images.train_labels),
            "val_loss": torch.nn.functional.cross_entropy(logits, images.val_labels).item(),
            "val_accuracy": (logits.argmax(1) == images.val_labels).double().mean().item(),
            "epoch_seconds": time.perf_counter() - began,
        }
        yield Progress(epoch, metrics, probs)


def make_scheduler(optimizer: Any, training: TrainingSpec, steps_per_epoch: int) -> Any:
    """Returns PyTorch's scheduler for the training's schedule, to be stepped after each batch; None for a constant one.

    Raises:
        ValueError: there is no counterpart.
    """
    match training.schedule:
        case Constant():
            return None
        case OneCycle() as cycle:
            return torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=training.optimizer.learning_rate,
                epochs=training.epochs,
                steps_per_epoch=steps_per_epoch,
                pct_start=cycle.warmup,
                div_factor=cycle.start_divisor,
                final_div_factor=cycle.end_divisor,
                cycle_momentum=False,
            )
    raise ValueError(f"no counterpart in PyTorch is written down for {training.schedule!r}.")


def _shift(training: TrainingSpec) -> int:
    """Returns how far images are moved.

    Raises:
        ValueError: there is another augmentation.
    """
    match training.augment:
        case ():
            return 0
        case (Translation(shift=shift),):
            return shift
    raise ValueError(f"no counterpart in PyTorch is written down for {training.augment!r}.")
