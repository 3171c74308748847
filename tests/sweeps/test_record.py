"""The record of a study's run, as docs/results/ keeps it: what the verbs say, on a page, with every trial."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest

from sweeps.config import load_study
from sweeps.ensemble.evaluate import Interval
from sweeps.ensemble.members import Member
from sweeps.ensemble.methods import MethodScore
from sweeps.ensemble.record import EnsembleReport, load_report
from sweeps.errors import ConfigError
from sweeps.paths import Paths
from tests.scripts import load_script
from tests.sweeps.command import ROOT, Home

SCRIPT = ROOT / "docs" / "record.py"
COMMANDS = ROOT / "docs" / "commands.py"


def record(home: Home, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=home.root, env=home.environment, capture_output=True, text=True, check=False)


def commands(page: str) -> list[str]:
    """Returns what a page says is to be typed."""
    return page.split("```\n")[1].splitlines()


@pytest.fixture
def later(swept: Home, tmp_path: Path) -> Home:
    """A copy of the study with its ensemble, whose file has come to say another seed and more epochs."""
    root = tmp_path / "home"
    shutil.copytree(swept.root, root)
    file = root / "studies" / "smoke.toml"
    text = file.read_text(encoding="utf-8")
    changed = text.replace("seed = 1\n", "seed = 77\n").replace("epochs = 2\n", "epochs = 5\n")
    assert changed.count("77") == text.count("77") + 1
    assert "epochs = 5" in changed
    file.write_text(changed, encoding="utf-8")
    return Home(root, swept.data)


@pytest.mark.slow
def test_a_record_holds_every_trial_and_the_commands(swept: Home, tmp_path: Path) -> None:
    done = record(swept, "smoke", "--output", tmp_path, "--machine", "an abacus", "--whole", "100h1m")
    assert done.returncode == 0, done.stderr
    page, trials = tmp_path / "smoke-seed1.md", pandas.read_csv(tmp_path / "smoke-seed1-trials.csv")
    assert done.stdout.splitlines() == [str(page), str(tmp_path / "smoke.md")]
    text = page.read_text(encoding="utf-8")
    for number in trials["trial"]:
        assert f"\n| #{number:03d} | " in text
    assert {"val_loss", "params", "weights_sha256", "dropout"} <= set(trials)
    report = load_report(Paths(swept.root).study("smoke"))
    for said in (
        "on an abacus",
        "after the study had begun",
        "It was 100:01:00 from the first command to its end, with the set-up.",
        "| **ensemble** |",
        "baselines = [",
        f"\n| test | 500 | **{100 * report.scores.test.accuracy:.2f} %** | ",
        f"\n| validation | 300 | **{100 * report.scores.val.accuracy:.2f} %** | ",
        *(f"| {each.member.name} | {each.member.label} |" for each in report.members),
    ):
        assert said in text
    assert [line for line in commands(text) if "robustness" in line] == []  # which was not measured
    assert str(swept.root) not in text
    facts = json.loads((tmp_path / "smoke-seed1.json").read_text(encoding="utf-8"))
    assert (facts["seed"], facts["machine"], facts["changed"]) == (1, "an abacus", {})
    assert (facts["command_s"], facts["settings"]["study"]["seed"]) == (360_060, 1)
    assert facts["test"]["accuracy"] == report.scores.test.accuracy
    assert facts["test"]["members"] == [each.scores.test.accuracy for each in report.members]
    summary = (tmp_path / "smoke.md").read_text(encoding="utf-8")
    assert "One recorded run" in summary
    assert f"| **{100 * report.scores.test.accuracy:.2f} % (" in summary
    assert "| 100:01:00 |" in summary
    assert "mean" not in summary.replace("`mean`", "")


@pytest.mark.slow
def test_a_record_is_of_the_run_and_not_of_the_file_as_it_came_to_be(later: Home, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "smoke-seed77.md").write_text("another run\n", encoding="utf-8")
    paths = Paths(later.root).study("smoke")
    digest = load_report(paths).digest
    for stem, part, owner in (("robustness", "validation", "0" * 64), ("robustness-test", "test", digest)):
        (paths.parent / f"{stem}.json").write_text(json.dumps(tried(part, owner)), encoding="utf-8")
        (paths.parent / f"{stem}.md").write_text(f"# Robustness on {part} images\n", encoding="utf-8")
        (paths.parent / f"{stem}.png").write_bytes(part.encode())
    done = record(later, "smoke", "--output", results)
    assert done.returncode == 0, done.stderr
    assert (results / "smoke-seed77.md").read_text(encoding="utf-8") == "another run\n"
    text = (results / "smoke-seed1.md").read_text(encoding="utf-8")
    assert text.startswith("# Study smoke, seed 1\n")
    assert commands(text)[-3:] == [
        'make sweep STUDY=smoke ARGS="--seed 1 --set budget.epochs=2"',
        ".venv/bin/python -m sweeps robustness smoke --test",
        "make record STUDY=smoke",
    ]
    assert "## Robustness on test images" in text
    assert "Robustness on validation images" not in text  # an earlier ensemble's
    assert "](smoke-seed1-robustness-test.png)" in text
    assert [file.read_bytes() for file in results.glob("*.png")] == [b"test"]
    shown = tomllib.loads(text.split("```toml\n")[1].removesuffix("```\n"))
    assert (shown["study"]["seed"], shown["budget"]["epochs"]) == (1, 2)


def tried(part: str, digest: str) -> dict[str, Any]:
    figures = {"accuracy": {"estimate": 0.5, "low": 0.4, "high": 0.6}, "loss": 1.0, "images": 9}
    group = {"name": "as they are", "how": "", "ensemble": figures, "members": [figures], "variants": {}, "ink": None}
    return {
        "format": 1,
        "study": "smoke",
        "title": "ensemble",
        "digest": digest,
        "part": part,
        "images": 9,
        "sampled": None,
        "seed": 1,
        "members": [["#000", "net"]],
        "groups": [group],
        "data": {"name": "mnist", "digest": "d" * 64},
        "test_openings": 1 if part == "test" else None,
        "versions": {},
        "commit": None,
        "time": "2026-11-24T00:00:00+00:00",
    }


@pytest.mark.parametrize(("told", "said"), [("1h52", "at least the 1:53:20 of the study"), ("soon", "a duration must")])
def test_a_whole_that_is_none_is_one_line(told: str, said: str) -> None:
    whole_command = load_script(SCRIPT).whole_command
    written_off, built_later = (6900.0, 6800.0), (6900.0, 90_000.0)
    assert whole_command("114m18.499s", *written_off) == pytest.approx(6858.499)
    assert whole_command("116m45.865s", *built_later) == pytest.approx(7005.865)
    assert whole_command("5m", None, None) == 300.0
    assert whole_command(None, *written_off) is None
    with pytest.raises(ConfigError, match=said) as caught:
        whole_command(told, *written_off)
    assert "\n" not in str(caught.value)


def test_trials_are_shown_with_what_they_were_ranked_by() -> None:
    row = {"trial": 3, "state": "COMPLETE", "network": "a|b", "val_loss": 0.12345, "objective": None, "epochs": 2}
    frame = pandas.DataFrame([row, row | {"trial": 1, "objective": 0.5}])
    assert load_script(SCRIPT).table(frame).splitlines() == [
        "| trial | state | network | objective | val_loss | epochs |",
        "|---|---|---|---|---|---|",
        r"| #003 | COMPLETE | a\|b |  | 0.1235 | 2 |",
        r"| #001 | COMPLETE | a\|b | 0.5000 | 0.1235 | 2 |",
    ]


def test_without_an_ensemble_there_is_nothing_to_record(home: Home) -> None:
    done = record(home, "smoke")
    assert done.returncode == 2
    assert "must have an ensemble" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "make sweep STUDY=smoke"),
        (["study.seed=31"], 'make sweep STUDY=smoke ARGS="--seed 31"'),
        (["budget.time=1h30m"], "make sweep STUDY=smoke BUDGET=1h30m"),
        (
            ["study.seed=2", "ensemble.method=greedy", "search.filters=[8, 16]"],
            "make sweep STUDY=smoke ARGS=\"--seed 2 --set ensemble.method=greedy --set 'search.filters=[8, 16]'\"",
        ),
    ],
)
def test_the_sweep_is_told_with_what_was_set_over_its_file(home: Home, overrides: list[str], said: str) -> None:
    file = home.root / "studies" / "smoke.toml"
    run = load_study(file, root=home.root, overrides=overrides)
    assert load_script(COMMANDS).sweep_command("smoke", run, file, home.root) == [said]


def test_what_no_option_can_say_is_told_as_a_file(home: Home) -> None:
    file = home.root / "studies" / "smoke.toml"
    run = load_study(file, root=home.root)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[fixed]\n", "[fixed]\nlabel_smoothing = 0.1\n"), encoding="utf-8")
    comment, line = load_script(COMMANDS).sweep_command("smoke", run, file, home.root)
    assert comment.startswith("# smoke.toml: ")
    assert line == "make sweep STUDY=smoke.toml"


def test_the_file_is_the_commit_s(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(["git", "-C", tmp_path, *who, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    file = tmp_path / "studies" / "night.toml"
    file.parent.mkdir()
    file.write_text("then\n", encoding="utf-8")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    commit = git("rev-parse", "HEAD")
    file.write_text("now\n", encoding="utf-8")
    assert load_script(COMMANDS).text_then(file, commit, tmp_path) == "then\n"
    assert load_script(COMMANDS).text_then(file, "unknown", tmp_path) == "now\n"
    assert load_script(COMMANDS).text_then(file, commit, tmp_path / "studies") == "then\n"


def test_an_ensemble_of_its_own_call_is_told_with_it(swept: Home, tmp_path: Path) -> None:
    file = tmp_path / "smoke.toml"
    text = (swept.root / "studies" / "smoke.toml").read_text(encoding="utf-8")
    file.write_text(text.replace('method = "mean"', 'method = "auto"'), encoding="utf-8")
    run = load_study(file, root=swept.root)
    built = load_report(Paths(swept.root).study("smoke"))

    def told(report: EnsembleReport) -> list[str]:
        command: list[str] = load_script(COMMANDS).ensemble_command("smoke", run, report, file, swept.root)
        return command

    plain = replace(built, considered=min(run.ensemble.top, built.finished), methods=(), method="mean")
    assert told(plain) == []
    first = built.members[0]
    gains = MethodScore("greedy", 0.1, 0.9, Interval(0.1, 0.05, 0.2), 1)
    call = ".venv/bin/python -m sweeps ensemble smoke"
    assert told(replace(plain, methods=(gains,), method="greedy")) == []
    assert told(replace(plain, methods=(gains,))) == [f"{call} --method mean"]
    assert told(replace(plain, tta=1)) == [f"{call} --tta 1"]
    assert told(replace(plain, considered=1)) == [f"{call} --top 1"]
    other = replace(first, member=replace(first.member, study="night", number=4))
    outside = replace(first, member=Member(0, "from outside", "0" * 64, 0.1, outside="torch"))
    named = replace(plain, members=(first, other, outside), is_named=True)
    numbers = f"{first.member.number},night:4"
    assert told(named) == [f"{call} night --members {numbers} --add torch.npz"]
