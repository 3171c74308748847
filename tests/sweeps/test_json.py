"""Every verb prints JSON where it is asked to, with the keys that docs/json.md promises."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from sweeps import cli
from sweeps.cli.options import show_as
from tests.sweeps.command import ROOT, Home

_TABLE = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "docs" / "json.md").read_text(), re.MULTILINE)
PROMISED = {verb: re.sub(r"^a list: |,.*$", "", keys).split() for verb, keys in _TABLE}

# The others train, draw for seconds, or serve until they are told to end: tests of their own call them.
CALLS: dict[str, Sequence[object]] = {
    "data": [],
    "predict": ["t10k-images-idx3-ubyte.gz", "--model", "smoke"],
    "run": ["smoke"],
    "init": ["smoke"],
    "worker": ["smoke"],
    "status": ["smoke"],
    "status N": ["smoke", 0],
    "trials": ["smoke"],
    "compare": ["smoke", 0, 1],
    "ensemble": ["smoke"],
    "ensemble --no-test": ["smoke", "--no-test"],
    "robustness": ["smoke", "--images", 20],
    "submit": ["smoke"],
    "verify": ["submission.csv.manifest.json"],
    "doctor": ["smoke"],
    "replay": ["smoke", 0],
    "enqueue": ["smoke", "--from", 0],
    "extend": ["smoke", 0, "--epochs", 4],
    "fork": ["smoke", "forked"],
    "export": ["smoke"],
    "import": ["smoke.tar", "--as", "other"],
    "clean": ["smoke", "--dry-run"],
    "completion": ["bash"],
}


@pytest.mark.parametrize("verb", cli.main.commands)
def test_every_verb_has_it_and_says_what_it_prints(verb: str) -> None:
    command = cli.main.commands[verb]
    flags = [param for param in command.params if isinstance(param, click.Option) and "--json" in param.opts]
    assert [param.is_flag for param in flags] == [True]
    assert PROMISED[verb]


def test_the_page_is_about_verbs_that_there_are() -> None:
    assert {name.split()[0] for name in PROMISED} == set(cli.main.commands)


@pytest.fixture(scope="module")
def copied(swept: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("json") / "home"
    shutil.copytree(swept.root, root)
    return Home(root, swept.data)


@pytest.mark.slow
def test_what_verbs_print_is_json_with_the_promised_keys(copied: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copied.root)
    shutil.copy(copied.data / "t10k-images-idx3-ubyte.gz", copied.root)
    for verb, arguments in CALLS.items():  # in the order of their work: some need what others left
        said = copied(verb.split()[0], *arguments, "--json")
        assert said.code == 0, (verb, said.err)
        found = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        values = found[0] if isinstance(found, list) else found
        assert set(PROMISED[verb]) <= set(values), verb


def test_numbers_that_json_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    show_as("", {"a": [math.nan, (1.5, -math.inf)], "path": Path("x")}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"a": [None, [1.5, None]], "path": "x"}
