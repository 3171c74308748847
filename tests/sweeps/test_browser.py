"""Pages are opened where they can be seen, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.command import ROOT

OPEN = "import sys; from sweeps.browser import open_pages; open_pages(*sys.argv[1:])"
PAGES = ("http://127.0.0.1:1/charts", "http://127.0.0.1:1/table")
needs_linux = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there is always a window")


def opened(tmp_path: Path, **environment: str) -> list[str]:
    """Opens both pages in a process of its own, for Python looks for browsers once; returns what a browser was told."""
    told = tmp_path / "told"
    for name in ("mine", "www-browser", "w3m", "xdg-open"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
        program.chmod(0o755)
    known = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    known |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *PAGES], env=known | environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
    return told.read_text().splitlines() if told.exists() else []


def test_the_users_browser_gets_the_pages_in_their_order(tmp_path: Path) -> None:
    assert opened(tmp_path, BROWSER=f"{tmp_path}/mine %s") == list(PAGES)


@needs_linux
def test_without_windows_the_terminal_is_left_alone(tmp_path: Path) -> None:
    assert opened(tmp_path) == []
