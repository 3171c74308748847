"""Makes `.venv` and installs a lock and this project into it. `make` runs it; it needs nothing but Python.

Usage: setup.py {runtime,dev,bench,dashboard}
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
# Compiled once here; pip would compile every file of 90 packages, of which a sweep imports a fifth.
IMPORTED = (
    "import matplotlib.pyplot, mlflow.pyfunc, mlflow.store.tracking.sqlalchemy_store, optuna, pandas, pooch\n"
    "from optuna.importance import PedAnovaImportanceEvaluator"  # of scikit-learn, for a sweep's pictures
)
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
LEVELS = ("runtime", "dev", "bench")  # each holds all that the one before does
# Optuna Dashboard and what it needs besides, added to any level; of the lock for tests, which has it too.
DASHBOARD = ("optuna-dashboard", "bottle")


def main(level: str) -> int:
    """Sets up `level` and leaves its stamp, which tells `make` that there is nothing more to do."""
    if level == "dashboard":
        return add_dashboard()
    started = time.monotonic()
    if not starts(PYTHON):
        say(f"making .venv with Python {sys.version.split()[0]} ({sys.executable})")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    lock = LOCKS["runtime" if level == "runtime" else "dev"]
    say(f"installing what {lock.name} lists; about a minute when it has to be downloaded")
    code = pip("--require-hashes", "-r", str(lock)) or pip("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    if level == "bench" and not code:
        extra = bench_extra()
        say(f"installing {', '.join(extra)}; much longer when it has to be downloaded")
        code = pip(*extra)
    if code:
        say("error: the installation failed; see pip's lines above, and run the same command again.")
        return code
    say("compiling what a sweep imports")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([str(PYTHON), "-c", IMPORTED], cwd=VENV, env=environment, capture_output=True)
    for stamp in LEVELS[: LEVELS.index(level) + 1]:
        (VENV / f".{stamp}").touch()
    say(f"ready in {time.monotonic() - started:.0f} s")
    return 0


def add_dashboard() -> int:
    """Installs Optuna Dashboard into the environment that is there."""
    say(f"installing {DASHBOARD[0]}")
    lines: list[str] = []
    taken = False
    for line in LOCKS["dev"].read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.startswith((" ", "#")):
            taken = line.split("==")[0] in DASHBOARD
        lines += [line] * taken
    with tempfile.NamedTemporaryFile("w", suffix=".lock", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        code = pip("--require-hashes", "--no-deps", "-r", file.name)
    if code:
        say("error: the installation failed; see pip's lines above, and run the same command again.")
        return code
    (VENV / ".dashboard").touch()
    return 0


def bench_extra() -> list[str]:
    """Returns what benchmarks need besides: pinned, but in no lock, for CPU and CUDA builds have other hashes."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        extra: list[str] = tomllib.load(file)["project"]["optional-dependencies"]["bench"]
    return extra


def starts(python: Path) -> bool:
    """Says whether an environment's interpreter is there and runs: it does not after an upgrade took its base away."""
    return python.exists() and subprocess.run([python, "-c", "import pip"], capture_output=True).returncode == 0


def pip(*arguments: str) -> int:
    """Runs `pip install` and shows one counting line for pip's hundreds; all of them when it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", "--no-compile"]
    environment = os.environ | {"PIP_ROOT_USER_ACTION": "ignore", "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    packages = 0
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([*command, *arguments], env=environment, **pipes) as process:
        assert process.stdout is not None  # as asked for by PIPE
        for line in process.stdout:
            lines.append(line)
            words = line.split()
            if words[:1] == ["Collecting"]:
                packages += 1
                show(f"{packages:4} fetching {words[1]}", often=packages % 20 == 0)
            elif words[:2] == ["Installing", "collected"]:
                show(f"     unpacking {len(words) - 3} packages", often=True)
    show("", often=False)
    if process.returncode:
        sys.stderr.writelines(lines)
    return process.returncode


def show(text: str, *, often: bool) -> None:
    """Rewrites the terminal's last line; where there is no terminal, prints the lines marked `often`."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r" + text[:width].ljust(width) + ("" if text else "\r"))
        sys.stderr.flush()
    elif often:
        say(text)


def say(text: str) -> None:
    """Prints one line of the set-up."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in (*LEVELS, "dashboard"):
        sys.exit(__doc__)
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
