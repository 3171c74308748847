from __future__ import annotations

import subprocess
import sys

import pytest

from mnistnn.errors import Diverged
from sweeps.single.profile import profile_net
from tests.sweeps.command import ROOT, Home


def test_it_prints_a_table_and_keeps_nothing(home: Home) -> None:
    home("data")  # unpacks the files
    before = home.files()
    said = home("train", "mlp3", "--profile", "--steps", 3, "--seed", 2)
    assert said.code == 0
    assert [name in said.out for name in ("batching", "dense_1", "softmax + loss", "adam", "step")] == [True] * 5
    assert "medians of 3 steps of 100 images" in said.out
    assert said.err.count("\n") == 1
    assert home.files() == before
    assert not (home.root / "mlruns" / "train").exists()


def test_its_options_reach_the_training(home: Home) -> None:
    said = home("train", "small", "--profile", "--steps", 2, "--batch-size", 10, "--json", "--quiet")
    assert (said.code, said.err) == (0, "")
    assert (said.json["batch_size"], said.json["steps"]) == (10, 2)
    names = [part["name"] for part in said.json["parts"]]
    assert "conv2d_1 + relu_1 + max_pool2d_1" in names
    assert "translation" in names
    plain = home("train", "small", "--profile", "--steps", 2, "--batch-size", 10, "--json", "--plain")
    assert [part["name"] for part in plain.json["parts"]][2:6] == ["input_1", "conv2d_1", "relu_1", "max_pool2d_1"]
    assert plain.json["mflop"] == pytest.approx(said.json["mflop"])


def test_a_small_data_set_is_gone_through_as_often_as_it_takes(home: Home) -> None:
    said = home("train", "mlp3", "--profile", "--steps", 20, "--batch-size", 1000, "--json", "-q")
    assert said.json["steps"] == 20  # two steps an epoch, five epochs in the preset


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--profile", "--test"], "--test must not stand beside --profile"),
        (["--profile", "--name", "x"], "--name"),
        (["--profile", "--message", "x"], "--message"),
        (["--profile", "--from", "x"], "--from"),
        (["--profile", "--epochs", 2], "--epochs"),
        (["--profile", "--tracking-uri", "x"], "--tracking-uri"),
        (["--steps", 3], "--steps must stand beside --profile"),
        (["--plain"], "--plain must stand beside --profile"),
        (["--profile", "--steps", 0], "--steps"),
        (["--profile", "--batch-size", 0], "batch_size"),
    ],
)
def test_what_makes_no_sense_is_refused(home: Home, arguments: list[object], expected: str) -> None:
    before = home.files()
    said = home("train", "mlp3", *arguments)
    assert (said.code, said.out) == (2, "")
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert home.files() == before


def test_a_training_that_diverges_has_failed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise Diverged("the loss is nan in epoch 1, step 1")

    monkeypatch.setattr("sweeps.single.profile.profile", diverge)
    said = home("train", "mlp3", "--profile", "--quiet")
    assert (said.code, said.out) == (1, "")
    assert "lower --learning-rate" in said.err


def test_it_needs_neither_optuna_nor_mlflow() -> None:
    code = f"import {profile_net.__module__}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"optuna", "mlflow", "pandas", "matplotlib"} & set(done.stdout.split())
