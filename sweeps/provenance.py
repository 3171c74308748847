"""What a result was made by: the commit, and the versions that its bytes depend on."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["changes", "commit", "made_by", "show_changes", "versions"]

_CHECKOUT = Path(__file__).resolve().parent.parent


@functools.cache
def commit() -> str | None:
    """Returns the commit of the checkout that this package lies in, with "-dirty" if files differ from it.

    Those are all tracked files, and modules of the two packages that git does not know yet: a new layer is one of them.
    None where the package was installed from elsewhere, or where there is no git.
    """
    if not (_CHECKOUT / ".git").exists():  # in site-packages, git would answer for whatever lies around it
        return None
    head = _git("rev-parse", "HEAD")
    if not head:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no") or _git(
        "status", "--porcelain", "--untracked-files=all", "--", "mnistnn/*.py", "sweeps/*.py"
    )
    return f"{head}-dirty" if changed else head


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions of Python, NumPy and its BLAS, and the kind of machine."""
    built: Any = np.show_config(mode="dicts")
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def made_by() -> dict[str, str | None]:
    """Returns the versions and the commit, by name: all that a result's bytes depend on besides data and seed."""
    return {**versions(), "commit": commit()}


def changes(then: Mapping[str, str | None]) -> dict[str, tuple[str, str]]:
    """Returns what has changed since a result was made: by name, the value then and the value now.

    Args:
        then: what `made_by` said when it was made. What is not known of that time is no change.
    """
    now = made_by()
    return {
        name: (old, now[name] or "unknown") for name, old in then.items() if old and name in now and old != now[name]
    }


def show_changes(changed: Mapping[str, tuple[str, str]]) -> str:
    """Returns in one line what `changes` found: "numpy 2.3.1, now 2.4.0"."""
    return "; ".join(f"{name} {_short(name, old)}, now {_short(name, new)}" for name, (old, new) in changed.items())


def _short(name: str, value: str) -> str:
    commit, dash, dirty = value.partition("-")
    return f"{commit[:10]}{dash}{dirty}" if name == "commit" else value


def _git(*arguments: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", os.fspath(_CHECKOUT), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
