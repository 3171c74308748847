from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from mnistnn.augment import AugmentationSpec
from mnistnn.augment.elastic import Elastic
from mnistnn.augment.noise import Noise
from mnistnn.augment.rotation import Rotation
from mnistnn.augment.translation import Translation
from mnistnn.data import Dataset, Split
from mnistnn.epochs import metric_names
from mnistnn.errors import Diverged, SpecError, Stopped
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.layers.dense import DenseSpec
from mnistnn.layers.flatten import FlattenSpec
from mnistnn.layers.input import InputSpec
from mnistnn.layers.relu import ReLUSpec
from mnistnn.metrics import accuracy, calibrated_loss, cross_entropy
from mnistnn.network import Network, NetworkSpec
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.sgd import SGD
from mnistnn.registry import augmentation
from mnistnn.schedules import Cosine, OneCycle
from mnistnn.training import EpochMetrics, Trainer, TrainingSpec, evaluate, history_frame
from tests.mnistnn.nets import EVERYTHING, TINY


@pytest.fixture(scope="module")
def parts(sample: Dataset) -> tuple[Split, Split]:
    """230 images to train on (a short last batch), 150 to validate on."""
    images, labels = sample.train_images, sample.train_labels
    return Split(images, labels, np.arange(230)), Split(images, labels, np.arange(230, 380))


Parts = tuple[Split, Split]


def trainer_of(parts: Parts, seed: int = 0, **values: Any) -> Trainer:
    spec = TrainingSpec(**({"epochs": 3, "batch_size": 50, "optimizer": Adam(learning_rate=3e-3)} | values))
    return Trainer(Network(TINY, seed=seed), spec, *parts, seed=seed)


def test_it_learns_and_yields_after_each_epoch(parts: Parts) -> None:
    trainer = trainer_of(parts, epochs=12)
    yielded = []
    for metrics in trainer.fit():
        yielded.append(metrics)
        assert trainer.history == yielded
        assert trainer.epoch == metrics.epoch == len(yielded)
        assert trainer.step == 5 * metrics.epoch  # 230 images are four batches of 50 and one of 30
    assert yielded[-1].train_loss < 0.5 * yielded[0].train_loss
    assert yielded[-1].val_accuracy is not None
    assert yielded[-1].val_accuracy > 0.6
    assert all(metrics.seconds > 0 and metrics.images_per_s > 0 for metrics in yielded)
    assert list(trainer.fit()) == []  # all done


def test_validation_is_that_of_the_weights_of_the_epoch(parts: Parts) -> None:
    trainer = trainer_of(parts)
    images, labels = parts[1].take()
    for metrics in trainer.fit():
        probs = trainer.network.predict_proba(images)
        assert metrics.val_accuracy == pytest.approx(accuracy(labels, probs))
        assert metrics.val_loss == pytest.approx(cross_entropy(labels, probs), rel=1e-5)


def test_evaluate_weighs_a_short_last_batch_by_its_images(parts: Parts) -> None:
    images, labels = parts[1].take()
    one, many = Network(TINY, batch_size=150), Network(TINY, batch_size=40)
    assert evaluate(one, images, labels) == pytest.approx(evaluate(many, images, labels), rel=1e-6)


def test_training_figures_are_means_over_images_without_smoothing(parts: Parts) -> None:
    """With a learning rate that moves nothing, they are those of the weights as they are."""
    network = Network(replace_dropout(), seed=1)
    images, labels = parts[0].take()
    loss, hits = evaluate(network, images, labels)
    spec = TrainingSpec(epochs=1, batch_size=50, optimizer=SGD(learning_rate=1e-4), label_smoothing=0.3)
    (metrics,) = Trainer(network, spec, parts[0]).fit()
    assert metrics.train_loss == pytest.approx(loss, rel=1e-2)
    assert metrics.train_accuracy == pytest.approx(hits, abs=0.02)


def replace_dropout() -> Any:
    return replace(TINY, layers=tuple(spec for spec in TINY.layers if not hasattr(spec, "rate")))


def test_the_best_epoch_is_kept_and_comes_back(parts: Parts) -> None:
    trainer = trainer_of(parts, epochs=5, optimizer=SGD(learning_rate=1.0))  # so large that it goes up and down
    snapshots = []
    for _ in trainer.fit():
        snapshots.append(trainer.network.snapshot())
    losses = [metrics.val_loss or 0 for metrics in trainer.history]
    best = int(np.argmin(losses))
    assert trainer.best_epoch == best + 1
    assert trainer.best_metrics is trainer.history[best]
    trainer.restore_best()
    assert trainer.network.arena.params.tobytes() == snapshots[best].params.tobytes()
    assert evaluate(trainer.network, *parts[1].take())[0] == pytest.approx(losses[best])


def test_the_best_may_be_chosen_by_accuracy(parts: Parts) -> None:
    spec = TrainingSpec(epochs=5, batch_size=50, optimizer=SGD(learning_rate=1.0))
    trainer = Trainer(Network(TINY), spec, *parts, monitor="val_accuracy")
    list(trainer.fit())
    values = [metrics.val_accuracy or 0 for metrics in trainer.history]
    assert trainer.best_epoch == int(np.argmax(values)) + 1  # the first of equals


def test_the_best_may_be_chosen_by_the_loss_after_a_temperature(parts: Parts) -> None:
    images, labels = parts[1].take()
    spec = TrainingSpec(epochs=5, batch_size=50, optimizer=Adam(learning_rate=0.03), label_smoothing=0.3)
    trainer = Trainer(Network(TINY), spec, *parts, monitor="val_calibrated_loss", shifted=np.roll(images, 4, axis=2))
    for metrics in trainer.fit():
        log_probs = np.log(trainer.network.predict_proba(images).astype(np.float64))
        assert metrics.val_calibrated_loss == pytest.approx(calibrated_loss(labels, log_probs), rel=1e-4)
        assert (metrics.val_loss, metrics.val_accuracy) == evaluate(trainer.network, images, labels)
        assert (metrics.val_calibrated_loss or 0.0) < (metrics.val_loss or 0.0)
        both = metrics.val_calibrated_loss, metrics.shifted_val_calibrated_loss
        assert metrics.value("val_calibrated_loss") == sum(each or 0.0 for each in both) / 2
    values = [metrics.value("val_calibrated_loss") or 0.0 for metrics in trainer.history]
    assert trainer.best_epoch == 1 + int(np.argmin(values))
    assert list(history_frame(trainer.history).columns)[-2:] == ["val_calibrated_loss", "shifted_val_calibrated_loss"]


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_the_best_is_chosen_by_the_mean_over_plain_and_shifted_images(parts: Parts, monitor: str) -> None:
    images, labels = parts[1].take()
    moved = np.roll(images, 4, axis=2)
    spec = TrainingSpec(epochs=5, batch_size=50, optimizer=Adam(learning_rate=0.03))
    trainer = Trainer(Network(TINY), spec, *parts, monitor=monitor, shifted=moved)
    for metrics in trainer.fit():
        assert (metrics.val_loss, metrics.val_accuracy) == evaluate(trainer.network, images, labels)
        shifted = evaluate(trainer.network, moved, labels)
        assert (metrics.shifted_val_loss, metrics.shifted_val_accuracy) == shifted
        plain = getattr(metrics, monitor)
        assert metrics.value(monitor) == (plain + shifted[monitor == "val_accuracy"]) / 2
    values = [metrics.value(monitor) or 0.0 for metrics in trainer.history]
    assert len({*values}) > 1
    assert values != [getattr(metrics, monitor) for metrics in trainer.history]
    assert trainer.best_epoch == 1 + int(np.argmin(values) if monitor == "val_loss" else np.argmax(values))
    assert list(history_frame(trainer.history).columns)[-2:] == ["shifted_val_loss", "shifted_val_accuracy"]


def test_without_shifted_images_an_epochs_value_is_its_metric(parts: Parts) -> None:
    trainer = trainer_of(parts, epochs=2, validate_every=2)
    first, second = trainer.fit()
    assert (first.value("val_loss"), second.value("val_loss")) == (None, second.val_loss)
    assert second.value("val_accuracy") == second.val_accuracy


def test_shifted_images_must_be_those_to_validate_on(parts: Parts) -> None:
    images = parts[1].take()[0]
    for validation, shifted in ((None, images), (parts[1], images[1:])):
        with pytest.raises(SpecError, match="must be those to validate on"):
            Trainer(Network(TINY), TrainingSpec(), parts[0], validation, shifted=shifted)


def test_without_validation_there_is_no_best_and_the_last_stays(parts: Parts) -> None:
    trainer = Trainer(Network(TINY), TrainingSpec(epochs=2, batch_size=50), parts[0])
    history = list(trainer.fit())
    last = trainer.network.snapshot()
    trainer.restore_best()
    assert trainer.best_epoch == 0
    assert trainer.best_metrics is None
    assert {metrics.val_loss for metrics in history} == {None}
    assert trainer.network.arena.params.tobytes() == last.params.tobytes()


def test_the_same_seed_gives_the_same_bytes_and_another_others(parts: Parts) -> None:
    results = []
    for seed in (1, 1, 2):
        trainer = trainer_of(parts, seed=seed, augment=(Translation(shift=2),))
        list(trainer.fit())
        results.append(trainer.network.arena.params.tobytes())
    assert results[0] == results[1] != results[2]


def test_validating_does_not_change_the_training(parts: Parts) -> None:
    with_validation, without = trainer_of(parts), trainer_of((parts[0], None))  # type: ignore[arg-type]
    list(with_validation.fit())
    list(without.fit())
    assert with_validation.network.arena.params.tobytes() == without.network.arena.params.tobytes()


def test_the_schedule_scales_each_step(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[tuple[int, float]] = []
    original = Adam.update

    def update(self: Adam, state: Any, arena: Any, *, learning_rate: float, step: int) -> None:
        rates.append((step, learning_rate))
        original(self, state, arena, learning_rate=learning_rate, step=step)

    monkeypatch.setattr(Adam, "update", update)
    schedule = OneCycle(warmup=0.4)
    trainer = trainer_of(parts, schedule=schedule, optimizer=Adam(learning_rate=0.01))
    last = list(trainer.fit())[-1]
    assert rates == [(step + 1, pytest.approx(0.01 * schedule.factor(step, 15))) for step in range(15)]
    assert last.learning_rate == rates[-1][1]


def test_a_training_that_is_laid_out_anew_takes_the_rates_of_the_longer_one(parts: Parts) -> None:
    cosine = {"optimizer": SGD(learning_rate=0.1), "schedule": Cosine()}
    longer = [metrics.learning_rate for metrics in trainer_of(parts, epochs=6, **cosine).fit()]
    trainer = trainer_of(parts, epochs=2, **cosine)
    rates = [metrics.learning_rate for metrics in trainer.fit()]
    trainer.replan(6)
    rates += [metrics.learning_rate for metrics in trainer.fit()]
    assert trainer.spec.epochs == 6
    assert [metrics.epoch for metrics in trainer.history] == [1, 2, 3, 4, 5, 6]
    assert rates[:2] != longer[:2]
    assert rates[2:] == longer[2:]
    with pytest.raises(SpecError, match=r"that are done, 6, but got 5"):
        trainer.replan(5)
    with pytest.raises(SpecError):
        trainer.replan(1001)
    assert trainer.spec.epochs == 6


def test_a_net_of_everything_trains_with_everything(parts: Parts) -> None:
    spec = TrainingSpec(
        epochs=2,
        batch_size=64,
        optimizer=Adam(weight_decay=1e-3),
        schedule=Cosine(),
        label_smoothing=0.1,
        augment=(Translation(shift=1), *(augmentation.get(name)() for name in augmentation.names())),
    )
    history = list(Trainer(Network(EVERYTHING), spec, *parts).fit())
    assert history[-1].train_loss < history[0].train_loss


def test_images_are_augmented_while_training_alone(parts: Parts) -> None:
    seen: list[tuple[int, int]] = []

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Spy(AugmentationSpec):
        def build(self, image_shape: tuple[int, ...] = (28, 28), max_batch: int = 100) -> Callable[..., Any]:
            assert (image_shape, max_batch) == ((28, 28), 50)

            def augmenter(images: Any, rng: np.random.Generator) -> Any:
                assert images.dtype == np.uint8
                seen.append((len(images), int(rng.integers(1 << 30))))
                return np.zeros_like(images)

            return augmenter

    trainer = trainer_of(parts, epochs=2, augment=(Spy(),))
    weight = trainer.network.layers["dense_1"].params[0].value
    before = weight.copy()
    list(trainer.fit())
    np.testing.assert_array_equal(weight, before)  # nothing is learnt about pixels from the black images that it gave
    assert [n for n, _ in seen] == [50, 50, 50, 50, 30] * 2
    assert len({draw for _, draw in seen}) == 10  # drawn afresh


def test_a_stop_comes_before_the_next_step(parts: Parts) -> None:
    answers: Iterator[bool] = iter([False] * 7 + [True])
    trainer = trainer_of(parts)
    with pytest.raises(Stopped):
        list(trainer.fit(lambda: next(answers)))
    assert trainer.step == 7
    assert [metrics.epoch for metrics in trainer.history] == [1]
    assert next(answers, None) is None


def test_a_training_that_diverges_says_where(parts: Parts) -> None:
    trainer = trainer_of(parts)
    epochs = trainer.fit()
    next(epochs)
    trainer.network.arena.params[:] = np.nan
    with pytest.raises(Diverged, match="epoch 2"):
        next(epochs)
    assert len(trainer.history) == 1


def test_a_training_that_diverges_by_itself_does_so_without_warnings(parts: Parts) -> None:
    spec = NetworkSpec(
        (
            InputSpec(scaling="none"),
            Conv2DSpec(filters=32, init_scale=10.0),
            ReLUSpec(),
            Conv2DSpec(filters=32, init_scale=10.0),
            ReLUSpec(),
            FlattenSpec(),
            DenseSpec(units=128, init_scale=10.0),
            DenseSpec(units=10, init_scale=10.0),
        )
    )
    training = TrainingSpec(epochs=5, batch_size=50, optimizer=SGD(learning_rate=2.0))
    with pytest.raises(Diverged):  # and a warning would be an error here
        list(Trainer(Network(spec), training, *parts).fit())


def test_a_validation_loss_that_is_not_finite_is_divergence(parts: Parts) -> None:
    trainer = trainer_of(parts, epochs=1, optimizer=SGD(learning_rate=1e-4))
    original, steps = trainer.update, len(parts[0]) // 50 + 1

    def breaking(state: Any, arena: Any, *, learning_rate: float, step: int) -> None:
        original(state, arena, learning_rate=learning_rate, step=step)
        if step == steps:
            arena.params[...] = np.inf

    trainer.update = breaking
    with pytest.raises(Diverged, match="validation"):
        list(trainer.fit())
    assert trainer.history == []


def test_a_batch_that_the_net_cannot_hold_is_refused(parts: Parts) -> None:
    with pytest.raises(SpecError, match="batch_size=20 is below 50"):
        Trainer(Network(TINY, batch_size=20), TrainingSpec(batch_size=50), *parts)


def test_labels_that_the_net_has_no_output_for_are_refused(parts: Parts) -> None:
    network = Network(NetworkSpec((InputSpec(shape=(784,)), DenseSpec(units=9))))
    with pytest.raises(SpecError, match="label 9 and 9 outputs"):
        Trainer(network, TrainingSpec(), *parts)


def test_the_best_cannot_be_chosen_by_what_is_not_known(parts: Parts) -> None:
    with pytest.raises(SpecError, match="val_loss, val_accuracy, val_calibrated_loss, but got 'loss'"):
        Trainer(Network(TINY), TrainingSpec(), *parts, monitor="loss")


def test_a_batch_larger_than_the_split_is_one_batch(parts: Parts) -> None:
    trainer = Trainer(Network(TINY, batch_size=1000), TrainingSpec(epochs=2, batch_size=1000), *parts)
    list(trainer.fit())
    assert trainer.step == 2


def test_history_is_a_table(parts: Parts) -> None:
    trainer = trainer_of(parts, epochs=3, validate_every=2)
    list(trainer.fit())
    frame = history_frame(trainer.history)
    assert list(frame.columns) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "seconds",
        "images_per_s",
        "learning_rate",
    ]
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["val_loss"].isna().tolist() == [True, False, False]
    assert list(history_frame([]).columns) == list(frame.columns)


def test_a_training_spec_survives_json() -> None:
    spec = TrainingSpec(
        epochs=7, optimizer=SGD(learning_rate=0.3), schedule=OneCycle(), augment=(Translation(shift=1),)
    )
    assert TrainingSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert TrainingSpec.from_dict({}) == TrainingSpec()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": "many"}, "batch_size"),
        ({"label_smoothing": 0.9}, "label_smoothing"),
        ({"optimizer": {"type": "adm"}}, "did you mean"),
        ({"optimizer": "adam"}, "table"),
        ({"schedule": {"type": "cosine", "end": 2}}, "end"),
        ({"augment": [{"type": "translation", "shift": 99}]}, "shift"),
    ],
)
def test_a_training_spec_that_is_wrong_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        TrainingSpec.from_dict(values)


def test_metrics_are_numbers_of_python(parts: Parts) -> None:
    """JSON and MLflow take them as they are."""
    trainer = trainer_of(parts, epochs=1)
    (metrics,) = trainer.fit()
    assert isinstance(metrics, EpochMetrics)
    for name in metric_names([metrics]):
        assert type(getattr(metrics, name)) in (int, float)
        assert math.isfinite(getattr(metrics, name))


def test_a_warm_epoch_takes_next_to_no_memory(parts: Parts, warm_peak: Callable[..., int]) -> None:
    """Many batches take no more than few: nothing of a batch is left behind or made anew."""
    row = (Translation(shift=2), Rotation(), Elastic(), Noise())
    trainer = trainer_of(parts, epochs=1000, augment=row, batch_size=10)
    epochs = trainer.fit()
    assert warm_peak(lambda: next(epochs)) < 160 * 1024
