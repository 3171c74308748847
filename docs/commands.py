"""What to type for a recorded run again: the commit, the sweep as it was called, the ensemble, what it was tried on."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sweeps.config import StudyConfig
from sweeps.config.duration import duration_code
from sweeps.config.file import load_study, parse_value
from sweeps.config.toml import leaves, to_toml
from sweeps.ensemble.methods import best_method
from sweeps.ensemble.record import EnsembleReport
from sweeps.errors import ConfigError
from sweeps.paths import Paths
from sweeps.robustness.record import Robustness
from sweeps.views.robustness import option_of

__all__ = ["commands", "ensemble_command", "sweep_command", "text_of", "text_then"]

_PYTHON: Final = ".venv/bin/python -m sweeps"


def commands(
    told: Mapping[str, Any],
    run: StudyConfig,
    report: EnsembleReport,
    tried: Sequence[Robustness],
    file: Path,
    root: Path,
) -> str:
    """Returns what to type for the same again; what is proposed depends on which worker ends first."""
    word = file.stem if file.parent == Paths(root).studies.resolve() else file.name
    commit = next(iter(told["origins"]["commits"]), "unknown").removesuffix("-dirty")
    lines = [] if commit == "unknown" else [f"git checkout {commit[:12]}"]
    with tempfile.TemporaryDirectory() as folder:
        then = Path(folder) / file.name
        then.write_text(text_then(file, commit, root), encoding="utf-8")
        lines += sweep_command(word, run, then, root)
        lines += ensemble_command(word, run, report, then, root)
    for found in tried:
        by = (found.commit or commit).removesuffix("-dirty")
        if by != commit:  # what it was tried with may be newer
            lines.append(f"git checkout {by[:12]}")
            commit = by
        lines.append(f"{_PYTHON} robustness {word}{option_of(found)}")
    return "\n".join([*lines, f"make record STUDY={word}"])


def text_then(file: Path, commit: str, root: Path) -> str:
    """Returns what a study's file said in the commit, which the commands check out; today's text if git has none."""
    if file.is_relative_to(root.resolve()):
        command = ["git", "-C", str(root), "show", f"{commit}:./{file.relative_to(root.resolve())}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        except OSError:  # without git
            return file.read_text(encoding="utf-8")
        if done.returncode == 0:
            return done.stdout
    return file.read_text(encoding="utf-8")


def sweep_command(word: str, run: StudyConfig, then: Path, root: Path) -> list[str]:
    """Returns the call that runs a study as it was run: by its file, and what was set over that.

    Args:
        word: what the study is called in commands.
        run: the configuration that it was run with.
        then: the study's file, as the commit has it.
        root: the project's folder.
    """
    try:
        known = dict(leaves(load_study(then, root=root).to_dict())) | {"study.direction": run.direction}  # the metric's
        changes = {path: text_of(path, value) for path, value in leaves(run.to_dict()) if known.get(path) != value}
        made = load_study(then, root=root, overrides=[f"{path}={text}" for path, text in changes.items()])
    except ConfigError:
        made = None
    if made is None or made.hash != run.hash:  # a file says what no option can
        name = f"{run.name}.toml"
        return [f"# {name}: the configuration at the end of this page", f"make sweep STUDY={name}"]
    budget = changes.pop("budget.time", None)
    words = [
        each
        for path, text in changes.items()
        for each in (("--seed", text) if path == "study.seed" else ("--set", f"{path}={text}"))
    ]
    options = shlex.join(words)
    given = shlex.quote(options) if set(options) & set('"$`\\') else f'"{options}"'
    return [f"make sweep STUDY={word}" + (f" BUDGET={budget}" if budget else "") + (f" ARGS={given}" if words else "")]


def text_of(path: str, value: Any) -> str:
    """Returns a value as `--set` takes it."""
    if path.endswith(".time") and not isinstance(value, str):
        return str(duration_code(value))
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return to_toml({"value": value}).removeprefix("value = ").rstrip()


def ensemble_command(word: str, run: StudyConfig, report: EnsembleReport, then: Path, root: Path) -> list[str]:
    """Returns the call that built the ensemble, where that of `make sweep` would build another one."""
    try:
        usual = load_study(then, root=root).ensemble
    except ConfigError:
        usual = run.ensemble
    members = [each.member for each in report.members]
    has_snapshots = any(member.epoch is not None for member in members)
    options = [] if report.tta == usual.tta else ["--tta", str(report.tta)]
    if has_snapshots and not usual.snapshots:
        options.append("--snapshots")
    if report.is_named:
        named = [f"{member.study}:{member.number}".lstrip(":") for member in members if not member.outside]
        options += ["--members", ",".join(dict.fromkeys(named))]
    elif report.stage == "search" and not (report.is_blend or has_snapshots):
        options += ["--stage", "search"] if run.final else []
        options += ["--top", str(report.considered)] if report.considered != min(usual.top, report.finished) else []
    if report.method != (best_method(report.methods) if usual.method == "auto" else usual.method):
        options += ["--method", report.method]
    options += [each for member in members if member.outside for each in ("--add", f"{member.outside}.npz")]
    studies = [word, *sorted({member.study for member in members} - {""})]
    return [f"{_PYTHON} ensemble {shlex.join([*studies, *options])}"] if len(studies) > 1 or options else []
