from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from mnistnn.presets import PRESETS
from sweeps import cli
from sweeps.cli.completion import TRIAL
from tests.sweeps.command import ROOT, Home


def completed(*words: str, incomplete: str = "") -> list[str]:
    return [item.value for item in ShellComplete(cli.main, {}, "sweeps", "_X").get_completions(list(words), incomplete)]


@pytest.fixture
def home(tmp_path: Path, sample_dir: Path) -> Home:
    return Home.make(tmp_path / "home", sample_dir)


@pytest.fixture
def project(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPS_HOME", str(home.root))
    for number in (0, 2, 17):
        (home.root / "studies" / "smoke" / "trials" / f"{number:05d}").mkdir(parents=True)
    return home.root


def test_verbs_studies_presets_and_trials(project: Path) -> None:
    assert completed(incomplete="st") == ["status"]
    studies = sorted(path.stem for path in (ROOT / "studies").glob("*.toml"))
    assert completed("run") == studies
    assert completed("run", incomplete="smo") == ["smoke"]
    assert completed("train") == list(PRESETS)
    assert completed("status", "smoke") == ["0", "2", "17"]
    assert completed("compare", "smoke", "0", incomplete="1") == ["17"]
    assert completed("enqueue", "smoke", "--from", incomplete="2") == ["2"]
    assert completed("status", "default") == []
    (project / "mlruns" / "train" / "mine").mkdir(parents=True)
    assert completed("predict", "--model", incomplete="mi") == ["mine"]
    assert completed("run", "smoke", incomplete="--tim") == ["--timeout"]


def test_what_is_no_name_is_a_file(project: Path) -> None:
    items = ShellComplete(cli.main, {}, "sweeps", "_X").get_completions(["run"], "studies/d")
    assert [(item.type, item.value) for item in items] == [("file", "studies/d")]


def test_every_verb_completes_its_study_and_its_trials(project: Path) -> None:
    for name, command in cli.main.commands.items():
        for param in command.params:
            if isinstance(param, click.Argument) and param.name == "study":
                assert "smoke" in completed(name, incomplete="smo"), name
            if isinstance(param.type, click.IntRange) and param.name in ("number", "trial", "first", "second", "base"):
                assert param.type is TRIAL, name


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    said = home("completion", shell)
    assert said.code == 0
    assert f"_SWEEPS_COMPLETE={shell}_complete" in said.out
    assert home("completion", shell, "--json").json == {"shell": shell, "script": said.out[:-1]}
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert home("completion").out == said.out


def test_another_shell(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    said = home("completion")
    assert said.code == 2
    assert "must be bash, zsh or fish, but got 'tcsh'" in said.err


# What each shell is told to do with the script: it completes `sweeps run smo`, and prints what it found.
_WORDS = {
    "bash": (
        'eval "$(sweeps completion bash)"; COMP_WORDS=(sweeps run smo); COMP_CWORD=2; '
        '_sweeps_completion sweeps; echo "${COMPREPLY[@]}"'
    ),
    # Completion in zsh wants a terminal; its builtin that takes the answers is stood in for.
    "zsh": (
        "autoload -Uz compinit && compinit -u -D; compadd() { print -r -- ${(P)@[-1]} }; "
        'eval "$(sweeps completion zsh)"; words=(sweeps run smo); CURRENT=3; $_comps[sweeps]'
    ),
    "fish": "sweeps completion fish | source; complete --do-complete 'sweeps run smo'",
}


@pytest.mark.parametrize("shell", _WORDS)
def test_the_shell_itself(shell: str, project: Path, tmp_path: Path) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"needs {shell}: Debian's package of that name")
    program = tmp_path / "sweeps"
    program.write_text(f"#!{sys.executable}\nfrom sweeps.cli import main\nmain()\n")
    program.chmod(0o755)
    more = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(
        [found, "-c", _WORDS[shell]], env=os.environ | more, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("smoke\n", "")


def test_completing_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys; from sweeps.cli import main\ntry: main(prog_name='sweeps')\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    environment = os.environ | {"_SWEEPS_COMPLETE": "bash_complete", "COMP_WORDS": "sweeps run smo", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "plain,smoke\n"
    assert not {"numpy", "optuna", "mlflow", "pydantic", "pandas"} & set(done.stderr.split())
