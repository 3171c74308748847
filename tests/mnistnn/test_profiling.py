from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mnistnn.augment.noise import Noise
from mnistnn.augment.rotation import Rotation
from mnistnn.augment.translation import Translation
from mnistnn.data import Dataset, Split
from mnistnn.errors import Diverged, Stopped
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers.sgd import SGD
from mnistnn.presets import preset
from mnistnn.profiling import WARM_UP, Profile, plan_names, profile
from mnistnn.training import Trainer, TrainingSpec
from tests.mnistnn.nets import EVERYTHING, TINY

SPEC = TrainingSpec(epochs=3, batch_size=50, augment=(Translation(shift=2),))


@pytest.fixture(scope="module")
def train(sample: Dataset) -> Split:
    return Split(sample.train_images, sample.train_labels, np.arange(230))


@pytest.fixture(scope="module")
def validation(sample: Dataset) -> Split:
    return Split(sample.train_images, sample.train_labels, np.arange(230, 300))


def trainer_of(net: NetworkSpec, train: Split, spec: TrainingSpec = SPEC, *, fused: bool = True) -> Trainer:
    return Trainer(Network(net, batch_size=spec.batch_size, seed=1, fused=fused), spec, train, seed=2)


def by_name(found: Profile) -> dict[str, Any]:
    return {part.name: part for part in found.parts}


def everything_but_clocks(trainer: Trainer) -> list[bytes]:
    arena = trainer.network.arena
    vectors = [arena.params, arena.states, *trainer.optimizer_state.values()]
    return [
        *(vector.tobytes() for vector in vectors),
        repr([r.bit_generator.state for r in trainer.rngs.values()]).encode(),
    ]


@pytest.mark.parametrize("fused", [True, False])
def test_the_weights_are_those_of_a_training_without_clocks(train: Split, validation: Split, fused: bool) -> None:
    profiled, bare = (trainer_of(EVERYTHING, train, fused=fused) for _ in range(2))
    profile(profiled, validation, steps=4)
    asked = itertools.count()
    with pytest.raises(Stopped):
        list(bare.fit(lambda: next(asked) == WARM_UP + 4))
    assert profiled.step == bare.step == WARM_UP + 4
    assert everything_but_clocks(profiled) == everything_but_clocks(bare)


def test_every_second_of_a_step_has_its_part(train: Split, validation: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes a second on whenever it is looked at, so each call takes one, and the rest what is left."""
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr("mnistnn.profiling.sgemm_gflops", lambda: 1.0)
    found = profile(trainer_of(TINY, train), validation, steps=3)
    names = [
        "batching",
        "translation",
        "input_1",
        "dense_1",
        "relu_1",
        "dropout_1",
        "dense_2",
        "softmax + loss",
        "adam",
    ]
    assert [part.name for part in found.parts] == [*names, "the rest"]
    parts = by_name(found)
    assert (parts["input_1"].forward_ms, parts["input_1"].backward_ms) == (1000, None)  # nothing below it learns
    for name in ("dense_1", "relu_1", "dropout_1", "dense_2", "softmax + loss"):
        assert (parts[name].forward_ms, parts[name].backward_ms, parts[name].ms) == (1000, 1000, 2000)
    for name in ("batching", "translation", "adam"):
        assert (parts[name].forward_ms, parts[name].backward_ms, parts[name].ms) == (None, None, 1000)
    calls = 14
    assert found.step_ms == 1000 * (2 * calls + 1)
    assert sum(part.ms for part in found.parts) == found.step_ms
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert found.epoch_s == pytest.approx(found.step_ms / 1000 * 230 / 50)


def test_parts_add_up_to_the_step_by_the_real_clock(train: Split, validation: Split) -> None:
    found = profile(trainer_of(EVERYTHING, train, replace(SPEC, epochs=20)), validation, steps=60)
    assert sum(part.ms for part in found.parts) == pytest.approx(found.step_ms)
    assert all(part.ms > 0 for part in found.parts[:-1])
    parts = by_name(found)
    conv = parts["conv2d_1 + relu_1 + max_pool2d_1"]
    assert conv.ms > 10 * parts["flatten_1"].ms  # however busy the machine is: one convolves, the other looks
    assert 0 < found.validation_share < 1
    assert found.sgemm_gflops > 1


def test_products_are_counted_as_by_hand(train: Split, validation: Split) -> None:
    recipe = preset("conv2")
    found = profile(trainer_of(recipe.network, train, replace(recipe.training, batch_size=100)), validation, steps=1)
    parts = by_name(found)
    # One multiplication and one addition each; the first layer owes no gradient by its input.
    first, second = 28 * 28 * 32 * (3 * 3 * 1), 14 * 14 * 64 * (3 * 3 * 32)
    wide, last = (7 * 7 * 64) * 128, 128 * 10
    mflop = [2 * products * macs * 100 / 1e6 for products, macs in ((2, first), (3, second), (3, wide), (3, last))]
    names = [name for name in parts if parts[name].mflop]
    assert [name.split(" + ")[0] for name in names] == ["conv2d_1", "conv2d_2", "dense_1", "dense_2"]
    assert [parts[name].mflop for name in names] == pytest.approx(mflop)
    assert found.mflop == pytest.approx(sum(mflop))
    assert parts["dense_1"].gflops == pytest.approx(mflop[2] / parts["dense_1"].ms)
    assert found.gflops == pytest.approx(sum(mflop) / found.step_ms)


def test_a_fused_layer_goes_by_the_names_of_all_that_it_does() -> None:
    network = Network(preset("conv2").network, batch_size=1, initialise=False)
    names = plan_names(network)
    assert names[:3] == [
        "input_1",
        "conv2d_1 + batch_norm_1 + relu_1 + max_pool2d_1",
        "conv2d_2 + batch_norm_2 + relu_2 + max_pool2d_2",
    ]
    assert names[3:] == list(network.layers)[9:]
    assert plan_names(Network(EVERYTHING, batch_size=1, initialise=False, fused=False)) == [
        name for name, _ in EVERYTHING.named_layers()
    ]


def test_a_training_that_ends_before_gives_the_steps_that_it_had(train: Split, validation: Split) -> None:
    whole = profile(trainer_of(TINY, train), validation, steps=100)  # three epochs of five steps
    assert whole.steps == 15 - WARM_UP
    single = profile(trainer_of(TINY, train, replace(SPEC, epochs=1, batch_size=230)), validation, steps=100)
    assert (single.steps, single.batch_size) == (1, 230)
    larger = profile(trainer_of(TINY, train, replace(SPEC, epochs=1, batch_size=500)), validation, steps=100)
    assert larger.batch_size == 230  # all that there are


def test_warps_that_are_done_as_one_are_one_part(train: Split, validation: Split) -> None:
    spec = replace(SPEC, augment=(Noise(), Rotation(), Translation(shift=2), Rotation(degrees=0.0)))
    found = profile(trainer_of(TINY, train, spec), validation, steps=2)
    assert [part.name for part in found.parts][1:3] == ["rotation + translation", "noise"]
    assert all(part.ms > 0 for part in found.parts[:3])


def test_the_clocks_come_off_again(train: Split, validation: Split) -> None:
    trainer = trainer_of(TINY, train)
    profile(trainer, validation, steps=2)
    diverging = trainer_of(TINY, train, replace(SPEC, optimizer=SGD(learning_rate=2.0)))
    diverging.network.arena.params[...] = math.inf
    with pytest.raises(Diverged):
        profile(diverging, validation, steps=2)
    for each in (trainer, diverging):
        owners = [each.loss, each.batches, *each.network.plan]
        assert not {"forward", "backward", "epoch"} & {name for owner in owners for name in vars(owner)}
        assert each.update == each.spec.optimizer.update
        assert [type(augmenter).__name__ for augmenter in each.augmenters] == ["_Translator"]


def test_the_table_has_a_row_for_each_part_and_ends_with_the_whole(train: Split, validation: Split) -> None:
    found = profile(trainer_of(TINY, train), validation, steps=2)
    lines = replace(found, sgemm_spread=0.0, sgemm_gflops=1e6).text().splitlines()  # however busy the machine is
    assert lines[0].split() == ["output", "forward", "ms", "backward", "ms", "ms", "share", "MFLOP", "GFLOP/s"]
    rows = lines[2 : 2 + len(found.parts)]
    assert [row.split("  ")[0] for row in rows] == [part.name for part in found.parts]
    dense = by_name(found)["dense_1"]
    assert rows[3].split()[:5] == [
        "dense_1",
        "16",
        *(f"{ms:.3f}" for ms in (dense.forward_ms, dense.backward_ms, dense.ms)),
    ]
    step = lines[3 + len(found.parts)].split()
    assert step[:4] == ["step", f"{found.step_ms:.3f}", "100.0", "%"]
    assert "to validate on 70" in lines[-2]
    assert lines[-1].startswith("peak memory: ")


def test_a_moving_average_is_a_part_of_the_step(train: Split, validation: Split) -> None:
    found = profile(trainer_of(TINY, train, replace(SPEC, ema=0.9)), validation, steps=3)
    assert [part.name for part in found.parts][-3:] == ["adam", "moving average", "the rest"]
    assert by_name(found)["moving average"].ms > 0


def test_a_busy_machine_is_told(train: Split, validation: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([80.0, 100.0, 100.0, 60.0])
    monkeypatch.setattr("mnistnn.profiling.sgemm_gflops", lambda: next(speeds))
    quiet = profile(trainer_of(TINY, train), validation, steps=3)
    assert quiet.sgemm_spread == pytest.approx(0.2)
    assert "warning" not in replace(quiet, sgemm_spread=0.1, gflops=73.0).text()
    busy = profile(trainer_of(TINY, train), validation, steps=3)
    assert (busy.sgemm_gflops, busy.sgemm_spread) == (100.0, pytest.approx(0.4))
    assert "warning: that sgemm was 40.0 % slower" in busy.text().splitlines()[-1]
    assert "warning: faster than an sgemm" in replace(quiet, sgemm_spread=0.1, gflops=124.9).text()
