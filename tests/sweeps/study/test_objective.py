from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mnistnn.checkpoint import load_model, read_header
from mnistnn.data import Dataset, Split
from mnistnn.errors import Diverged, OutputError
from mnistnn.files import sha256_file
from mnistnn.metrics import accuracy, cross_entropy
from mnistnn.training import Trainer
from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.forecast import Forecast, duration_text
from sweeps.study.labels import run_name
from sweeps.study.recovery import recover, settle_checkpoints
from sweeps.study.space import Space
from sweeps.study.storage import load_study, origin_of
from tests.sweeps.small import Killed, make_bench, make_study, paths_of, run_next, small_config, stop_after


@pytest.fixture(scope="module")
def tiny(sample: Dataset) -> Any:
    """A data set of which an epoch takes milliseconds."""

    class Tiny:
        digest = sample.digest

        def split(self, seed: int) -> tuple[Split, Split]:
            train, validation = sample.split(seed)
            return (
                Split(train.images, train.labels, train.indices[:200]),
                Split(validation.images, validation.labels, validation.indices[:100]),
            )

    return Tiny()


def events(paths: StudyPaths, number: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (paths.trial(number) / "events.jsonl").read_text().splitlines()]


def kinds(paths: StudyPaths, number: int) -> list[str]:
    return [event["kind"] for event in events(paths, number)]


def results(config: StudyConfig, paths: StudyPaths) -> dict[int, tuple[Any, ...]]:
    """Returns what a study came to: by trial, its end, value, parameters and weights."""
    trials = [t for t in load_study(config.name, None, paths).trials if not t.user_attrs.get("requeued")]
    return {
        origin_of(trial): (
            trial.state,
            trial.value,
            trial.params,
            trial.intermediate_values,
            trial.user_attrs.get("weights_sha256"),
        )
        for trial in trials
    }


def test_what_a_finished_trial_leaves(tmp_path: Path, sample: Dataset) -> None:
    config = small_config()
    study, bench = make_study(config, tmp_path, sample), make_bench(config, tmp_path, sample)
    paths = bench.paths
    assert run_next(study, bench) == TrialState.COMPLETE
    trial, folder = study.trials[0], paths.trial(0)
    attributes = trial.user_attrs
    assert sorted(path.name for path in folder.iterdir()) == [
        "events.jsonl",
        "final.npz",
        "history.csv",
        "lock",
        "recipe.json",
        "val_probs.npz",
        "weights.npz",
    ]
    assert attributes["weights_sha256"] == sha256_file(folder / "weights.npz")
    assert trial.value == attributes["val_loss"] == min(trial.intermediate_values.values())
    assert attributes["best_epoch"] == min(trial.intermediate_values, key=lambda n: trial.intermediate_values[n])
    with np.load(folder / "val_probs.npz") as file:
        probs, labels, indices = file["probs"], file["labels"], file["indices"]
    assert np.array_equal(indices, bench.validation.indices)
    images, known = bench.validation.take()
    assert np.array_equal(labels, known)
    assert probs.dtype == np.float32
    assert accuracy(labels, probs) == pytest.approx(attributes["val_accuracy"])
    assert cross_entropy(labels, probs) == pytest.approx(trial.value, rel=1e-4)
    network = load_model(folder / "weights.npz")
    assert np.allclose(network.predict_proba(images), probs, atol=1e-6)
    assert read_header(folder / "weights.npz")["extra"] == {"study": "small", "trial": 0, "seed": 3}
    assert (attributes["params"], attributes["macs"]) == (network.param_count, network.macs)
    assert attributes["epochs_run"] == 2
    assert 20 < attributes["peak_mb"] < 2000
    with open(folder / "history.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    space = Space(config)
    values = space.values(trial.params)
    assert json.loads((folder / "recipe.json").read_text()) == json.loads(json.dumps(space.recipe(values).to_dict()))


def test_what_a_finished_trial_records(tmp_path: Path, sample: Dataset) -> None:
    config = small_config()
    study, bench = make_study(config, tmp_path, sample), make_bench(config, tmp_path, sample)
    run_next(study, bench)
    recorded = events(bench.paths, 0)
    assert [event["kind"] for event in recorded] == ["start", "epoch", "epoch", *["artifact"] * 4, "end"]
    start, first, end = recorded[0], recorded[1], recorded[-1]
    assert start["name"].startswith("#000 conv ")
    assert start["params"]["optimizer"] == "adam"
    assert start["tags"] == {"study": "small", "trial": "0"}
    assert start["metrics"].keys() == {"trial_number", "params_count", "macs"}
    assert first["step"] == 1
    assert first["metrics"].keys() == {
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "epoch_seconds",
        "images_per_s",
        "learning_rate",
    }
    assert end["state"] == "COMPLETE"
    results = {"best_epoch", "best_val_loss", "best_val_accuracy", "seconds", "epoch_s", "peak_mb"}
    assert end["metrics"].keys() >= results
    assert {event["file"] for event in recorded if event["kind"] == "artifact"} == {
        "weights.npz",
        "recipe.json",
        "val_probs.npz",
        "history.csv",
    }


def test_a_trial_is_told_how_long_it_takes(tmp_path: Path, sample: Dataset) -> None:
    config = small_config(budget__epochs=3)
    space, said = Space(config), []
    forecast = Forecast(config, space, 1500)
    study = make_study(config, tmp_path, sample)
    bench = make_bench(config, tmp_path, sample, space=space, forecast=forecast, say=said.append)
    run_next(study, bench)
    trial = study.trials[0]
    estimate, observed = trial.user_attrs["epoch_s_estimate"], trial.user_attrs["epoch_s"]
    assert estimate == round(forecast.epoch_s(space.values(trial.params)), 3)
    # Validation, checkpoint and records are in it.
    assert trial.user_attrs["seconds"] / 3 < observed < 60
    assert said == [f"trial 0: {duration_text(3, estimate)}"]
    recorded = events(bench.paths, 0)
    assert recorded[0]["metrics"]["epoch_s_estimate"] == estimate
    assert f"time {duration_text(3, estimate)}" in recorded[0]["note"]
    assert recorded[-1]["metrics"]["epoch_s"] == observed
    forecast.learn(study.trials)
    run_next(study, bench)
    assert study.trials[1].user_attrs["epoch_s_estimate"] != estimate  # the first one told how fast the machine is


def test_a_trial_that_is_gone_on_with_keeps_its_estimate(tmp_path: Path, tiny: Any) -> None:
    config = small_config(budget__epochs=3)
    space = Space(config)
    study = make_study(config, tmp_path, tiny)
    common = {"space": space, "forecast": Forecast(config, space, 200)}
    assert run_next(study, make_bench(config, tmp_path, tiny, stop=stop_after(3), **common)) == TrialState.WAITING
    first = study.trials[0].user_attrs
    assert first["epoch_s"] > 0  # others plan by it already
    assert run_next(study, make_bench(config, tmp_path, tiny, **common)) == TrialState.COMPLETE
    assert study.trials[0].user_attrs["epoch_s_estimate"] == first["epoch_s_estimate"]


def test_two_runs_give_the_same_bytes(tmp_path: Path, tiny: Any) -> None:
    config, found = small_config(), []
    for name in ("a", "b"):
        study, bench = make_study(config, tmp_path / name, tiny), make_bench(config, tmp_path / name, tiny)
        while run_next(study, bench):
            pass
        found.append(results(config, bench.paths))
    assert found[0] == found[1]
    assert len({result[4] for result in found[0].values()}) == 3


@pytest.mark.parametrize("stopped_at", range(0, 15, 2))
def test_a_stop_at_any_step_changes_nothing(tmp_path: Path, tiny: Any, stopped_at: int) -> None:
    """An epoch has two steps, so this stops in every epoch of every trial, before and after its first step."""
    config = small_config()
    study, bench = make_study(config, tmp_path / "a", tiny), make_bench(config, tmp_path / "a", tiny)
    while run_next(study, bench):
        pass
    study, paths = make_study(config, tmp_path / "b", tiny), paths_of(config, tmp_path / "b")
    stopping = make_bench(config, tmp_path / "b", tiny, stop=stop_after(stopped_at))
    ends: list[Any] = []
    while (not ends or ends[-1] != TrialState.WAITING) and (end := run_next(study, stopping)):
        ends.append(end)
    interrupted = TrialState.WAITING in ends
    assert interrupted == (stopped_at < 3 * 2 * 2)
    if interrupted:
        number = len(ends) - 1
        assert kinds(paths, number)[-1] == "stop"
        assert study.trials[number].state == TrialState.WAITING
    study = load_study(config.name, None, paths, sampler=study.sampler, pruner=study.pruner)
    bench_b = make_bench(config, tmp_path / "b", tiny)
    while run_next(study, bench_b):
        pass
    assert results(config, paths) == results(config, bench.paths)
    for number in range(3):
        recorded = kinds(paths, number)
        assert (recorded.count("start"), recorded.count("epoch"), recorded.count("end")) == (1, 2, 1)
        assert not (paths.trial(number) / "checkpoint.npz").exists()


class Reaper:
    """Kills before the operation number `at` that writes something: bytes, a sync, a new name, a removal."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("write", "fsync", "replace", "unlink"):
            monkeypatch.setattr(os, name, self._guarded(getattr(os, name)))

    def _guarded(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                raise Killed
            if self.count > self.at:  # the dead do not tidy up
                return 0
            return operation(*args, **options)

        return guarded


def _kill_and_go_on(tmp_path: Path, tiny: Any, at: int, **changes: Any) -> bool:
    """Kills a trial before its write number `at` and runs the study to its end. Returns False if it has fewer."""
    config = small_config(**{"budget__trials": 1, "search": {"filters": [2, 4]}} | changes)
    root = tmp_path / f"at-{at}"
    study, paths = make_study(config, root, tiny), paths_of(config, root)
    reaper = Reaper(at)
    with pytest.MonkeyPatch.context() as monkeypatch:
        reaper.watch(monkeypatch)
        try:
            run_next(study, make_bench(config, root, tiny))
        except Killed:
            pass
        else:
            return False
    study = load_study(config.name, None, paths, sampler=study.sampler, pruner=study.pruner)
    recover(study, paths)
    while run_next(study, make_bench(config, root, tiny)):
        pass
    settle_checkpoints(study, paths)
    ((number, (state, value, _, reported, weights)),) = [
        item for item in results(config, paths).items() if item[1][0] != TrialState.FAIL
    ]
    assert state == TrialState.COMPLETE
    assert value == min(reported.values())
    assert weights == sha256_file(paths.trial(number) / "weights.npz")
    assert [path.name for path in paths.trial(number).glob("*.npz")].count("final.npz") == 1
    assert not list(paths.trial(number).glob("checkpoint*"))
    recorded = kinds(paths, number)
    assert (recorded.count("start"), recorded.count("epoch")) == (1, 2)
    assert recorded[-1] == "end"
    assert len(results(config, paths)) == 1
    undisturbed = tmp_path / "undisturbed"
    if not undisturbed.exists():
        other = make_study(config, undisturbed, tiny)
        run_next(other, make_bench(config, undisturbed, tiny))
    if number == 0:  # what was killed before it had parameters begins anew under the next number
        assert weights == results(config, paths_of(config, undisturbed))[0][4]
    return True


@pytest.mark.kill
@pytest.mark.parametrize("phase", range(4))
def test_a_kill_before_any_write_loses_nothing(tmp_path: Path, tiny: Any, phase: int) -> None:
    at = 1 + phase
    while _kill_and_go_on(tmp_path, tiny, at):
        at += 4
    assert at > 40


@pytest.mark.kill
def test_neither_does_it_to_averaged_weights_and_shifted_images(tmp_path: Path, tiny: Any) -> None:
    """The average goes on where it stood, and its statistics are estimated from the same images again."""
    fixed = {"blocks": 1, "kernel": 3, "batch_size": 50, "norm": "batch_norm", "dropout": 0.2, "ema": 0.9}
    changes = {"fixed": fixed | {"augment": "translation"}, "study__validation_shift": 2}
    at = 3
    while _kill_and_go_on(tmp_path, tiny, at, **changes):
        at += 7
    assert at > 40


def test_a_pruned_trial(tmp_path: Path, tiny: Any) -> None:
    config = small_config(
        budget__trials=12, pruner={"type": "median", "startup_trials": 1, "warmup_epochs": 0}, budget__epochs=2
    )
    study, bench = make_study(config, tmp_path, tiny), make_bench(config, tmp_path, tiny)
    while run_next(study, bench):
        pass
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert trial.user_attrs["reason"] == "pruned after epoch 1 of 2"
        assert trial.user_attrs["epochs_run"] == 1
        assert events(bench.paths, trial.number)[-1]["state"] == "PRUNED"
        assert not (bench.paths.trial(trial.number) / "weights.npz").exists()
        assert not (bench.paths.trial(trial.number) / "checkpoint.npz").exists()


def test_a_baseline_is_never_pruned(tmp_path: Path, tiny: Any) -> None:
    config = small_config(study__baselines=["mlp3"], budget__trials=1)
    study, bench = make_study(config, tmp_path, tiny), make_bench(config, tmp_path, tiny)
    study.pruner = optuna.pruners.ThresholdPruner(upper=0.0)
    assert run_next(study, bench) == TrialState.COMPLETE
    start = events(bench.paths, 0)[0]
    assert start["tags"]["baseline"] == "mlp3"
    assert start["name"].startswith("#000 dense 128")


def test_a_diverged_trial_ends_as_pruned(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    study, bench = make_study(config, tmp_path, tiny), make_bench(config, tmp_path, tiny)

    def diverge(self: Trainer, *_: Any) -> float:
        raise Diverged("the loss is nan in epoch 1, step 1")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", diverge)
        assert run_next(study, bench) == TrialState.PRUNED
    assert study.trials[0].user_attrs["reason"] == "diverged: the loss is nan in epoch 1, step 1"
    assert events(bench.paths, 0)[-1]["reason"].startswith("diverged")
    assert run_next(study, bench) == TrialState.COMPLETE


def test_an_exception_fails_the_trial_and_not_the_sweep(
    tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config()
    lines: list[str] = []
    study = make_study(config, tmp_path, tiny)
    bench = make_bench(config, tmp_path, tiny, say=lines.append)
    step, calls = Trainer._train_step, 0

    def stumble(self: Trainer, *args: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise ZeroDivisionError("in the second epoch")
        return step(self, *args)

    monkeypatch.setattr(Trainer, "_train_step", stumble)
    assert run_next(study, bench) == TrialState.FAIL
    assert study.trials[0].user_attrs["reason"] == "ZeroDivisionError: in the second epoch"
    assert "Traceback" in (bench.paths.trial(0) / "traceback.txt").read_text()
    assert "Traceback" in lines[0]
    assert kinds(bench.paths, 0)[-2:] == ["artifact", "end"]
    assert run_next(study, bench) == TrialState.COMPLETE  # the second attempt, from the checkpoint
    assert origin_of(study.trials[1]) == 0
    assert kinds(bench.paths, 0).count("epoch") == 2


def test_a_full_disk_is_not_the_trials_fault(tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    study, bench = make_study(config, tmp_path, tiny), make_bench(config, tmp_path, tiny)

    def full(*_: Any) -> None:
        raise OutputError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("sweeps.study.checkpoints.save_checkpoint", full)
        with pytest.raises(OutputError):
            run_next(study, bench)
    assert study.trials[0].state == TrialState.RUNNING
    assert recover(study, bench.paths) == [0]
    assert run_next(study, bench) == TrialState.COMPLETE


def test_a_damaged_checkpoint_is_said_and_begun_anew(tmp_path: Path, tiny: Any) -> None:
    config = small_config(budget__trials=1)
    study = make_study(config, tmp_path, tiny)
    assert run_next(study, make_bench(config, tmp_path, tiny, stop=stop_after(3))) == TrialState.WAITING
    paths = paths_of(config, tmp_path)
    checkpoint = paths.trial(0) / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    lines: list[str] = []
    assert run_next(study, make_bench(config, tmp_path, tiny, say=lines.append)) == TrialState.COMPLETE
    assert "a checkpoint is passed over" in lines[0]
    assert kinds(paths, 0).count("epoch") == 2


def test_a_study_by_accuracy(tmp_path: Path, tiny: Any) -> None:
    config = small_config(study__metric="val_accuracy", budget__epochs=3)
    study, bench = make_study(config, tmp_path, tiny), make_bench(config, tmp_path, tiny)
    run_next(study, bench)
    trial = study.trials[0]
    assert trial.value == trial.user_attrs["val_accuracy"] == max(trial.intermediate_values.values())


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1.2345e-3, "1.2e-3"), (0.05, "5.0e-2"), (1.0, "1.0"), (2e-12, "2.0e-12"), (30.0, "3.0e1")],
)
def test_the_name_of_a_run(rate: float, text: str) -> None:
    assert run_name(17, "conv 32-64 bn", {"optimizer": "adamw", "learning_rate": rate}) == (
        f"#017 conv 32-64 bn adamw {text}"
    )


def test_who_sees_a_trials_network_sees_its_estimate_too(tmp_path: Path, sample: Dataset, tiny: Any) -> None:
    config = small_config()
    study = make_study(config, tmp_path, sample)
    bench = make_bench(config, tmp_path, tiny)
    run_next(study, replace(bench, forecast=Forecast(config, bench.space, len(bench.train))))
    # The journal has the attributes in the order in which others come to see them.
    journal = (paths_of(config, tmp_path).journal).read_text()
    assert 0 < journal.index('"epoch_s_estimate"') < journal.index('"label"')
