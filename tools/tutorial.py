"""Runs a tutorial, which is a script in cells, in a copy of this checkout, and writes it with its outputs as Markdown.

`python tools/tutorial.py docs/tutorial.py docs/tutorial_layer.py` is `make tutorial`. Cells are those that editors and
Jupytext know: `# %% [markdown]` begins a text in comments, `# %%` a piece of Python; lines that begin with `# !` are
commands of a shell. `{{ path }}` alone in a line of text stands for that file. A cell's last expression is shown: as a
picture if it has one, else by its repr.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
# What a tutorial works on: code, studies, and what `make` and the contract tests need.
COPIED = ("mnistnn", "sweeps", "studies", "tests", "tools", "docs/tutorial", "Makefile", "pyproject.toml")
LOCKS = ("requirements.lock", "requirements-dev.lock")
EXECUTED = "*Executed"  # begins the line that says by what a tutorial was made

_WIDTH = 110  # columns of what is printed
_RAN = re.compile(rf"^{re.escape(EXECUTED)}.*\n", re.MULTILINE)
_OUTPUT = re.compile(r"^```text\n.*?^```\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """A piece of a tutorial.

    Attributes:
        kind: what it is.
        title: what stands behind its `# %%`, which describes its picture.
        source: its text, its commands or its code.
    """

    kind: Literal["markdown", "shell", "python"]
    title: str
    source: str


def read_cells(text: str) -> list[Cell]:
    """Returns the cells of a script; what stands before the first one is not shown."""
    cells = []
    for piece in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = piece.partition("\n")
        title, body = head.strip(), body.strip("\n")
        if title.startswith("[markdown]"):
            cells.append(Cell("markdown", "", re.sub(r"^# ?", "", body, flags=re.MULTILINE)))
        elif body.startswith("# !"):
            cells.append(Cell("shell", title, re.sub(r"^# !?", "", body, flags=re.MULTILINE)))
        else:
            cells.append(Cell("python", title, body))
    return cells


def skeleton(markdown: str) -> str:
    """Returns a tutorial without what may be different each time: what was printed, and by what it was made."""
    return _OUTPUT.sub("```text\n```\n", _RAN.sub("", markdown))


def copy_project(folder: Path, changed: Mapping[str, bytes] | None = None) -> None:
    """Copies this checkout, without what git ignores, for a tutorial to work in.

    Its `.venv` is the environment that this process runs in.

    Args:
        folder: where to; it is made.
        changed: files by their paths that shall be others than ours, or that we do not have.
    """
    studies = {path.name for path in (ROOT / "studies").iterdir() if path.is_dir()}
    for name in (*COPIED, *LOCKS):
        source, target = ROOT / name, folder / name
        if source.is_dir():
            skipped = ("__pycache__", ".*_cache", *(studies if name == "studies" else ()))
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*skipped))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    for name, data in (changed or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, arguments in (("python", ""), ("sweeps", "-m sweeps ")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (programs / name).chmod(0o755)
    for stamp in (".runtime", ".dev"):  # which tell make that nothing is to be installed
        (folder / ".venv" / stamp).touch()


class Runner:
    """Runs cells in the current folder, and writes down what they show.

    Args:
        stem: the tutorial's name, which begins those of its pictures.
        pictures: where these go.
        checkout: where the files lie that a text shows.
    """

    def __init__(self, stem: str, pictures: Path, checkout: Path = ROOT) -> None:
        self._stem = stem
        self._checkout = checkout
        self._pictures = pictures
        self._drawn = 0
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._hidden = {str(Path.cwd()): "…", sys.executable: "python"}
        if data := os.environ.get("MNIST_DIR"):
            self._hidden[data] = "…/mnist"

    def run(self, cell: Cell) -> str:
        """Returns the cell and its outputs as Markdown.

        Raises:
            RuntimeError: a command failed.
        """
        if cell.kind == "markdown":
            return re.sub(r"^\{\{ (\S+) \}\}$", self._included, cell.source, flags=re.MULTILINE) + "\n"
        if cell.kind == "shell":
            return f"```sh\n{cell.source}\n```\n" + self._printed(self._shell(cell.source))
        shown, picture = self._python(cell)
        return f"```python\n{cell.source}\n```\n" + self._printed(shown) + picture

    def _shell(self, source: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
        )
        if done.returncode:
            raise RuntimeError(f"the command `{source}` ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def _python(self, cell: Cell) -> tuple[str, str]:
        """Returns what the cell printed and the picture that it ended with, if it did."""
        tree = ast.parse(cell.source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        printed = io.StringIO()
        value = None
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, self._stem, "exec"), self._names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), self._stem, "eval"), self._names)
        if draw := getattr(value, "_repr_png_", None):
            self._drawn += 1
            name = f"{self._stem}-{self._drawn}.png"
            (self._pictures / name).write_bytes(draw())
            return printed.getvalue(), f"\n![{cell.title}]({self._pictures.name}/{name})\n"
        return printed.getvalue() + ("" if value is None else repr(value)), ""

    def _printed(self, text: str) -> str:
        for hidden, shown in self._hidden.items():
            text = text.replace(hidden, shown)
        lines = (line.rstrip() for line in text.strip("\n").splitlines())
        return "\n```text\n{}\n```\n".format("\n".join(lines)) if text.strip() else ""

    def _included(self, match: re.Match[str]) -> str:
        path = self._checkout / match[1]
        language = {".py": "python", ".toml": "toml"}[path.suffix]
        return f"```{language}\n{path.read_text().rstrip()}\n```"


def run_here(script: Path, output: Path, executed: str) -> None:
    """Runs a tutorial in this process and this folder, and writes it beside its folder of pictures.

    Args:
        script: the tutorial.
        output: the Markdown file. Its pictures go into `tutorial/` beside it.
        executed: what to say of this checkout and this machine.
    """
    import pandas

    pandas.set_option("display.width", _WIDTH)
    began = time.monotonic()
    pictures = output.parent / "tutorial"
    pictures.mkdir(parents=True, exist_ok=True)
    runner = Runner(script.stem, pictures, script.parent.parent)
    parts = [runner.run(cell) for cell in read_cells(script.read_text())]
    minutes, seconds = divmod(round(time.monotonic() - began), 60)
    parts.append(f"{EXECUTED} by `make tutorial`{executed}, in {minutes}:{seconds:02d}.*\n")
    output.write_text("\n".join(parts))


def run_copied(script: Path, output: Path, changed: Mapping[str, bytes] | None = None) -> None:
    """Runs a tutorial in a copy of this checkout, in a process of its own, and writes it.

    Args:
        script: the tutorial.
        output: the Markdown file.
        changed: files by their paths that shall be others than ours, or that we do not have.

    Raises:
        subprocess.CalledProcessError: the tutorial failed; stderr says how.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "mnist-sweeps"
        copy_project(folder, changed)
        command = [sys.executable, str(folder / "tools/tutorial.py"), "--here", str(script.resolve())]
        kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        path = f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = kept | {"PYTHONPATH": str(folder), "PATH": path, "COLUMNS": str(_WIDTH)}
        subprocess.run([*command, str(output.resolve()), _executed()], cwd=folder, env=environment, check=True)


# What would lead a tutorial out of its copy.
_ELSEWHERE = {"SWEEPS_HOME", "SWEEPS_STORAGE", "MLFLOW_TRACKING_URI", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}


@functools.cache  # before the first page is written, by which the files differ from the commit
def _executed() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=, changed"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    at = f" at commit {commit}" if commit else ""
    return f"{at}, on {os.cpu_count()} cores"


def main(arguments: Sequence[str]) -> None:
    """Runs the tutorials that are named, or with `--here` one of them in this folder."""
    if arguments[0] == "--here":
        _, script, output, executed = arguments
        run_here(Path(script), Path(output), executed)
        return
    for path in map(Path, arguments):
        print(f"running {path}", file=sys.stderr)
        run_copied(path, path.with_suffix(".md"))


if __name__ == "__main__":
    main(sys.argv[1:])
