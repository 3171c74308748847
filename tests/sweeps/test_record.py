"""The record of a study's run, as docs/results/ keeps it: what the verbs say, on a page, with every trial."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from tests.sweeps.command import ROOT, Home


def record(home: Home, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "docs" / "record.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=home.root, env=home.environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_record_holds_every_trial_and_the_commands(swept: Home, tmp_path: Path) -> None:
    done = record(swept, "smoke", "--output", tmp_path, "--machine", "an abacus")
    assert done.returncode == 0, done.stderr
    page, trials = tmp_path / "smoke-seed1.md", pandas.read_csv(tmp_path / "smoke-seed1-trials.csv")
    assert done.stdout.strip() == str(page)
    text = page.read_text(encoding="utf-8")
    for number in trials["trial"]:
        assert f"\n| #{number:03d} | " in text
    assert {"val_loss", "params", "weights_sha256", "dropout"} <= set(trials)
    for said in ("on an abacus", "make sweep STUDY=smoke", "| **ensemble** |", "baselines = ["):
        assert said in text
    assert str(swept.root) not in text


def test_without_an_ensemble_there_is_nothing_to_record(home: Home) -> None:
    done = record(home, "smoke")
    assert done.returncode == 2
    assert "must have its ensemble" in done.stderr
    assert len(done.stderr.splitlines()) == 1
