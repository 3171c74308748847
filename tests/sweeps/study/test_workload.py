from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mnistnn.architecture import Block, ConvNet
from mnistnn.augment.cutout import Cutout
from mnistnn.augment.noise import Noise
from mnistnn.augment.rotation import Rotation
from mnistnn.augment.shear import Shear
from mnistnn.augment.translation import Translation
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.layers.sigmoid import SigmoidSpec
from mnistnn.network import Network
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.sgd import SGD
from mnistnn.training import TrainingSpec
from sweeps.study.workload import KINDS, epoch_workload, image_counts


def counts(net: ConvNet) -> dict[str, float]:
    return dict(image_counts(Network(net.network(), batch_size=10, initialise=False)))


def test_two_convolutions_by_hand() -> None:
    net = ConvNet(blocks=(Block(filters=8, kernel=5), Block(filters=16, pool=False)), norm=BatchNormSpec(), dropout=0.2)
    found = counts(net)
    first, second = 28 * 28 * 8, 14 * 14 * 16  # numbers of each convolution's output
    assert found["first_conv_macs"] == first * 25
    assert found["conv_macs"] == second * 9 * 8
    assert found["first_patches"] == 28 * 28 * 25
    assert found["patches"] == 14 * 14 * 9 * 8
    assert found["patches_back"] == 14 * 14 * 9 * 16
    assert found["map_numbers"] == found["normed_numbers"] == first + second
    assert found["drawn_numbers"] == second
    assert found["dense_macs"] == second * 10
    assert found["params"] == 25 * 8 + 2 * 8 + 9 * 8 * 16 + 2 * 16 + second * 10 + 10
    # ReLU, pool and flatten: what they take in.
    assert found["other_numbers"] == 2 * first + 2 * second


def test_a_net_without_convolutions() -> None:
    found = counts(ConvNet(dense_units=32))
    assert found["dense_macs"] == 784 * 32 + 32 * 10
    assert found["conv_macs"] == found["first_conv_macs"] == found["map_numbers"] == 0


def test_any_layer_is_counted() -> None:
    relu, sigmoid = (counts(ConvNet(dense_units=32, **more)) for more in ({}, {"activation": SigmoidSpec()}))
    assert sigmoid["other_numbers"] == relu["other_numbers"] == 32


def test_a_shortcut_is_counted_by_what_goes_over_it() -> None:
    plain, residual = (counts(ConvNet(blocks=(Block(convs=2, filters=8, residual=r),))) for r in (False, True))
    more = {kind: residual[kind] - plain[kind] for kind in plain if residual[kind] != plain[kind]}
    assert more == {"other_numbers": 2 * 28 * 28 * 8, "layers": 2}  # a fork and an add


def test_an_epoch() -> None:
    found = counts(ConvNet(dense_units=32))
    training = TrainingSpec(batch_size=64, optimizer=Adam(), augment=(Translation(shift=2),))

    def epoch(images: int, **changes: object) -> dict[str, float]:
        work = epoch_workload(found, dataclasses.replace(training, **changes), images)
        assert work.dtype == np.float64
        return dict(zip(KINDS, work.tolist(), strict=True))

    once, twice = epoch(640), epoch(1280)
    assert (once["epochs"], once["steps"], once["images"], once["augmented_images"]) == (1, 10, 640, 640)
    assert once["dense_macs"] == 640 * found["dense_macs"]
    assert once["vector_numbers"] == 10 * 4 * found["params"]  # params, grads and Adam's two
    assert {kind: twice[kind] for kind in KINDS[1:]} == {kind: 2 * once[kind] for kind in KINDS[1:]}
    assert epoch(641)["steps"] == 11
    assert epoch(640, optimizer=SGD())["vector_numbers"] == once["vector_numbers"] / 2
    assert epoch(640, augment=())["augmented_images"] == 0
    rest = (Noise(), Translation(shift=2), Cutout(size=0))  # which does nothing
    assert (epoch(640, augment=rest)["augmented_images"], epoch(640, augment=rest)["warped_images"]) == (1280, 0)
    warps = epoch(640, augment=(*rest, Rotation(), Shear()))  # one resampling
    assert (warps["augmented_images"], warps["warped_images"]) == (640, 640)
    assert epoch(640, ema=0.99)["vector_numbers"] == once["vector_numbers"] * 5 / 4  # and the average


def test_every_kind_is_counted_somewhere() -> None:
    net = ConvNet(blocks=(Block(convs=2),), norm=BatchNormSpec(), dropout=0.1, dense_units=16)
    training = TrainingSpec(augment=(Translation(shift=1), Rotation(), Noise()))
    assert (epoch_workload(counts(net), training, 100) > 0).all()
    with pytest.raises(KeyError):
        epoch_workload({}, training, 100)
