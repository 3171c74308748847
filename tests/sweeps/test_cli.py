from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.errors import DataError, Diverged
from mnistnn.files import sha256_file
from mnistnn.presets import PRESETS
from mnistnn.registry import augmentation, layer, optimizer, schedule
from mnistnn.types import UInt8s
from sweeps import cli
from sweeps.cli.options import Verbs
from tests.sweeps.command import ROOT, Home

VERBS = list(cli.main.commands)


def test_help_lists_the_verbs_by_what_people_are_doing(home: Home) -> None:
    said = home("--help")
    assert said.code == 0
    sections = said.out[said.out.index("Data and nets:") :]
    lines = [line for line in sections.splitlines() if line.strip()]
    assert [line for line in lines if not line.startswith(" ")] == ["Data and nets:", "Studies:", "Contest:", "Care:"]
    assert [line.split()[0] for line in lines if line.startswith("  ")] == VERBS
    assert "..." not in sections  # no summary is cut off


def test_help_imports_nothing_that_takes_time() -> None:
    # Seconds would say more of the machine than of the code.
    code = (
        "import sys; from sweeps.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    slow = {"numpy", "optuna", "mlflow", "pydantic", "pandas", "matplotlib", "sqlite3", "asyncio", "tqdm"}
    assert not slow & set(done.stderr.split())
    assert len(done.stderr.split()) < 250


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(home: Home, verb: str) -> None:
    said = home(verb, "--help")
    assert said.code == 0
    assert said.err == ""
    assert said.out.startswith(f"Usage: main {verb}")


def test_help_names_what_can_be_trained_and_searched(home: Home) -> None:
    presets = home("train", "--help").out.partition("Presets:")[2]
    assert all(f"  {name} " in presets for name in PRESETS)
    searchable = home("run", "--help").out
    for registry in (layer, optimizer, augmentation, schedule):
        assert all(f"  {name} " in searchable for name in registry.names())


def test_data(home: Home) -> None:
    said = home("data", "--json", "--quiet")
    assert (said.code, said.err) == (0, "")
    assert said.json["train"] == 1800
    assert said.json["test"] == 500
    assert said.json["path"] == str(home.data)
    assert said.json["digest"] in home("data").out


def test_trials(swept: Home, tmp_path: Path) -> None:
    said = swept("trials", "smoke", "--json", "--csv", tmp_path / "trials.csv")
    assert said.code == 0
    losses = [trial["val_loss"] for trial in said.json if trial["state"] == "COMPLETE"]
    assert len(losses) >= 2
    assert losses == sorted(losses)
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert len(lines) == len(said.json) + 1
    assert lines[0].split(",")[:2] == list(said.json[0])[:2]
    assert swept("trials", "smoke").out.count("\n") == len(lines)


def test_run_of_a_finished_study_says_so_and_is_done(swept: Home) -> None:
    said = swept.process("run", "smoke", "--json")
    assert said.code == 0
    assert said.json["stopped_by"] == "complete"
    assert said.json["study"] == "smoke"
    assert "budget" in said.err
    said = swept.process("run", "smoke", "--no-pictures")
    assert re.search(r"^more  .* run smoke --set budget\.trials=\d+$", said.err, re.M)
    built = (swept.root / "studies" / "smoke" / "ensemble" / "ensemble.json").is_file()
    assert ("ensemble smoke" in said.err) is not built
    assert swept.process("run", "smoke", "--quiet").err == ""


@pytest.mark.slow
def test_options_of_run_reach_the_study(home: Home, tmp_path: Path, database: Path) -> None:
    journal = tmp_path / "journal.log"
    said = home.process(
        "run", "smoke", "--trials", 2, "--workers", 1, "--seed", 5, "--set", "pruner.type=none", "--storage", journal,
        "--tracking-uri", f"sqlite:///{tmp_path}/other.db", "--json",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.json["complete"] == 2
    assert said.json["stopped_by"] == "trials"
    assert journal.exists()
    assert (tmp_path / "other.db").exists()
    assert sha256_file(home.root / "mlruns" / "mlflow.db") == sha256_file(database)
    assert home("trials", "smoke").code == 2  # its own journal is not there
    assert len(home("trials", "smoke", "--storage", journal, "--json").json) >= 2


@pytest.mark.slow
def test_a_kaggle_csv_goes_from_its_sweep_to_a_submission(home: Home, sample: Dataset, tmp_path: Path) -> None:
    def table(name: str, columns: list[str], rows: UInt8s) -> Path:
        header = ",".join([*columns, *(f"pixel{number}" for number in range(784))])
        np.savetxt(tmp_path / name, rows, fmt="%d", delimiter=",", header=header, comments="")
        return tmp_path / name

    images, labels = sample.train_images.reshape(-1, 784), sample.train_labels
    train = table("train.csv", ["label"], np.column_stack([labels, images]))
    test = table("test.csv", [], images[:30])
    at = ["--data-dir", train]
    kaggle = shutil.copy(home.root / "studies" / "smoke.toml", home.root / "studies" / "kaggle.toml").stem
    said = home.process("run", kaggle, "--set", "budget.trials=2", *at)
    assert said.code == 0, said.err
    said = home("ensemble", kaggle, "--top", 1, *at)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) > 3
    said = home("submit", kaggle, "--input", test)  # which needs no data set
    assert said.code == 0, said.err
    lines = (home.root / "submission.csv").read_text().splitlines()
    assert lines[0] == "ImageId,Label"
    assert [line.split(",")[0] for line in lines[1:]] == [str(number) for number in range(1, 31)]
    right = sum(int(line.split(",")[1]) == label for line, label in zip(lines[1:], labels, strict=False))
    assert right > 15


@pytest.mark.slow
def test_the_ensemble_of_a_study_that_ran_with_another_seed(home: Home) -> None:
    for call, verb in ((home.process, "run"), (home, "ensemble"), (home, "submit")):
        said = call(verb, "smoke", "--seed", 5, "--set", "budget.trials=2")
        assert said.code == 0, said.err


@pytest.mark.slow
def test_ensemble_and_submission(swept: Home, tmp_path: Path) -> None:
    said = swept("ensemble", "smoke", "--top", 1, "--method", "mean", "--json")
    assert said.code == 0, said.err
    assert len(said.json["members"]) == 1
    images = swept.data / "t10k-images-idx3-ubyte.gz"
    said = swept("submit", "smoke", "--input", images, "--output", tmp_path / "s.txt", "--format", "digits", "--json")
    assert said.code == 0, said.err
    assert len((tmp_path / "s.txt").read_text().splitlines()) == 500
    assert said.json == json.loads((tmp_path / "s.txt.manifest.json").read_text())
    assert swept("ensemble", "smoke").code == 0  # which other tests shall find as it was


def failing(error: BaseException) -> Verbs:
    group = Verbs("verbs")

    @group.command()
    def fail() -> None:
        raise error

    return group


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("the rule,\n but got that; do this."), 2, "error: the rule, but got that; do this.\n"),
        (
            Diverged("the loss is nan"),
            1,
            "error: the training diverged: the loss is nan; try a lower --learning-rate.\n",
        ),
    ],
)
def test_ends(error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        failing(error).main(["fail"])
    assert caught.value.code == code
    assert capsys.readouterr().err == line


def test_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        failing(KeyboardInterrupt()).main(["fail"])
    assert caught.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_ours_shows_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError()).main(["fail"])


def test_standard_output_that_cannot_be_written(swept: Home) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = [sys.executable, "-m", "sweeps", "data"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, cwd=ROOT, env=swept.environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the result must be writable")
    assert done.stderr.count("\n") == 1


def test_reader_that_leaves_is_no_fault(swept: Home) -> None:
    command = [sys.executable, "-m", "sweeps", "data"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=swept.environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141


def test_main_is_the_entry_point_of_the_command() -> None:
    assert isinstance(cli.main, Verbs)
