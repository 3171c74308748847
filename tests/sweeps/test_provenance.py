from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    """Makes a small checkout in `tmp_path` with one commit; returns what asks for its commit anew."""
    for name in ("mnistnn/layers/dense.py", "sweeps/cli/nets.py", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as committed\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, env=environment)
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    return provenance.commit.__wrapped__


def test_a_clean_checkout_is_its_commit(checkout: Callable[[], str | None]) -> None:
    commit = checkout()
    assert commit is not None
    assert len(commit) == 40


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("README.md", True),
        ("mnistnn/layers/dense.py", True),
        ("mnistnn/layers/mine.py", True),
        ("mnistnn/new/mine.py", True),
        ("sweeps/mine.py", True),
        ("sweeps/ignored.py", False),
        ("mnistnn/layers/notes.txt", False),
        ("mine.py", False),
        ("studies/mine.toml", False),
    ],
)
def test_changed_files_and_new_modules_make_it_dirty(
    checkout: Callable[[], str | None], tmp_path: Path, name: str, dirty: bool
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine\n")
    assert str(checkout()).endswith("-dirty") == dirty


def test_an_installed_package_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "_CHECKOUT", tmp_path)
    assert provenance.commit.__wrapped__() is None
