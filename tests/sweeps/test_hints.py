from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sweeps import cli
from sweeps.cli import hints
from sweeps.cli.hints import show_more, show_next
from tests.sweeps.small import small_config

STEPS = {"ensemble": "averages the best", "ui": "opens MLflow", "unknown": "is no verb"}


def said(study: str) -> list[str]:
    @click.command()
    def verb() -> None:
        show_next(study, STEPS)

    group = click.Group("sweeps", commands={**cli.main.commands, "verb": verb})
    return CliRunner().invoke(group, ["verb"]).stderr.splitlines()


def test_commands_as_this_program_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEPS_MAKE", raising=False)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".venv" / "bin" / "sweeps"
    script.parent.mkdir(parents=True)
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert said("mine") == [
        "next  .venv/bin/sweeps ensemble mine  averages the best",
        "      .venv/bin/sweeps ui             opens MLflow",
    ]
    monkeypatch.setenv("PATH", str(script.parent))
    assert said("mine")[0] == "next  sweeps ensemble mine  averages the best"
    monkeypatch.setattr(sys, "argv", ["/x/sweeps/__main__.py"])
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    assert said("mine")[0].startswith("next  .venv/bin/python -m sweeps ensemble mine ")


def test_targets_where_make_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPS_MAKE", "1")
    assert said("mine") == [
        "next  make sweep STUDY=mine  averages the best",
        "      make ui                opens MLflow",
    ]
    assert said("default")[0] == "next  make sweep  averages the best"


@pytest.mark.parametrize(
    ("make", "budget", "lines"),
    [
        ("", {"time": "5m"}, ["more  PROGRAM run small --set budget.time=10m"]),
        ("", {"trials": 7}, ["more  PROGRAM run small --set budget.trials=14"]),
        ("", {"trials": 7, "time": "1m"}, ["more  PROGRAM run small --set budget.time=2m"]),
        ("", {"trials": 7, "time": "2m"}, ["more  PROGRAM run small --set budget.trials=14"]),
        ("1", {"time": "90s"}, ["more  make sweep STUDY=small BUDGET=3m"]),
        ("1", {"trials": 7}, ["more  make sweep STUDY=small ARGS='--set budget.trials=14'"]),
    ],
)
def test_how_to_give_more(
    make: str,
    budget: dict[str, Any],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWEEPS_MAKE", make)
    monkeypatch.setattr(hints, "_program", lambda: "PROGRAM")
    show_more(small_config(budget={"epochs": 1} | budget), 90.0)
    assert capsys.readouterr().err.splitlines() == lines
