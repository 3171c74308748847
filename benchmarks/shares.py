"""How much of a training goes into what is not the network: gathering and moving images, and validating."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.contenders import sample
from benchmarks.measure import Spread, limit_threads, spread
from mnistnn.augment import build_augmenters
from mnistnn.data.batches import Batches
from mnistnn.data.dataset import Split
from mnistnn.losses import SoftmaxCrossEntropy
from mnistnn.network import IMAGE_SHAPE, Network
from mnistnn.presets import preset
from mnistnn.training import evaluate

__all__ = ["SharesRow", "measure_shares"]

_ALL, _TRAINED, _VALIDATED = 60_000, 50_000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesRow:
    """Parts of 1: of a step for `data` (batching, augmentation), of an epoch for `validation`."""

    net: str
    data: Spread
    validation: Spread


def measure_shares(net: str, *, rounds: int, part: float) -> SharesRow:
    """Trains a preset by epochs as long as that `part` of MNIST's, with its own augmentation, on one thread.

    Images are gathered from all over 60,000 as they are in a sweep: the sample, over and over.
    """
    recipe = preset(net)
    training = recipe.training
    images, labels = sample()
    times = -(-_ALL // len(images))
    all_images, all_labels = np.tile(images, (times, 1, 1))[:_ALL], np.tile(labels, times)[:_ALL].astype(np.uint8)
    chosen = np.sort(np.random.default_rng(0).permutation(_ALL)[: round(part * _TRAINED)])
    held_out = round(part * _VALIDATED)

    network = Network(recipe.network, batch_size=training.batch_size, seed=1)
    loss = SoftmaxCrossEntropy(10, training.batch_size, label_smoothing=training.label_smoothing)
    optimizer = training.optimizer
    state = optimizer.init(network.arena)
    batches = Batches(Split(all_images, all_labels, chosen), training.batch_size)
    augmenters = build_augmenters(training.augment, IMAGE_SHAPE, training.batch_size)
    rng = np.random.default_rng(1)
    data, validation = np.empty(rounds), np.empty(rounds)
    step = 0
    with limit_threads(1, torch=False):
        for number in range(-1, rounds):  # the first epoch only warms up
            began = since = time.perf_counter()
            data_s = 0.0
            for batch, digits in batches.epoch(rng):
                for augmenter in augmenters:
                    batch = augmenter(batch, rng)
                data_s += time.perf_counter() - since
                step += 1
                loss.forward(network.forward(batch, train=True), digits)
                network.backward(loss.backward())
                optimizer.update(state, network.arena, learning_rate=optimizer.learning_rate, step=step)
                since = time.perf_counter()
            trained = time.perf_counter()
            evaluate(network, all_images[:held_out], all_labels[:held_out])
            ended = time.perf_counter()
            if number >= 0:
                data[number] = data_s / (trained - began)
                validation[number] = (ended - trained) / (ended - began)
    return SharesRow(net=net, data=spread(data), validation=spread(validation))
