"""Writes the whole record of a study's run into docs/results/: `make record STUDY=contest`.

The study must have its ensemble; its robustness is told as far as it was measured. Nothing is trained or opened here,
and nothing is read from the study's file of today: what is written is what the study keeps of itself, so that runs by
other seeds have records of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mnistnn.errors import InputError
from mnistnn.files import atomic_write
from sweeps.config import StudyConfig
from sweeps.config.duration import clock, duration_code
from sweeps.config.file import find_study, load_study, parse_value
from sweeps.config.toml import to_toml
from sweeps.ensemble.evaluate import Score, share_interval
from sweeps.ensemble.methods import best_method
from sweeps.ensemble.record import EnsembleReport, load_report
from sweeps.errors import ConfigError
from sweeps.paths import Paths, StudyPaths, project_root
from sweeps.robustness.record import Robustness, read_robustness
from sweeps.tracking.events import TrialLog
from sweeps.views.robustness import option_of

_DIGITS = {"objective": 4, "val_loss": 4, "val_accuracy": 4, "seconds": 1}
#: Of a table of trials, what the Markdown shows; the CSV beside it has every column.
SHOWN = ["trial", "state", "from", "network", *_DIGITS, "epochs", "params", "reason"]
_PYTHON = ".venv/bin/python -m sweeps"


def main() -> None:
    """Writes NAME-seedN.md and NAME-seedN-trials.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", metavar="FOLDER")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores", help="what it ran on, in a few words")
    chosen = parser.parse_args()
    try:
        root = project_root()
        file = find_study(chosen.study, root)
        study = load_study(file, root=root).name
        paths = Paths(root).study(study)
        report = load_report(paths)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
    told = asked("report", str(file))
    run = as_run(told["origins"]["toml"], study)
    tried = robustness(paths, report)
    trials = pandas.DataFrame(asked("trials", str(file))).convert_dtypes()  # counts stay counts where a trial has none
    name = f"{study}-seed{run.seed}"
    chosen.output.mkdir(parents=True, exist_ok=True)
    with atomic_write(chosen.output / f"{name}-trials.csv", "w") as table_file:
        trials.to_csv(table_file, index=False, lineterminator="\n")
    parts = [
        f"# Study {study}, seed {run.seed}",
        f"{told['verdict'][0]} {told['verdict'][1]}",
        effort(told, report, paths, chosen.machine),
        f"```\n{commands(told, run, report, [found for found, _ in tried], file, root)}\n```",
        "## Figures",
        figures(report),
        shifted((paths.ensemble / "report.md").read_text(encoding="utf-8")),
        *(shifted(page) for _, page in tried),
        "## Every trial",
        f"Parameters and digests are in [{name}-trials.csv]({name}-trials.csv). Trial n draws all that is random in it "
        f"from the seed {run.seed} and n.",
        table(trials),
        "## The study, as it was run",
        f"```toml\n{told['origins']['toml'].rstrip()}\n```",
    ]
    with atomic_write(chosen.output / f"{name}.md", "w") as page_file:
        page_file.write("\n\n".join(parts) + "\n")
    print(chosen.output / f"{name}.md")


def asked(*arguments: str) -> Any:
    """Returns what a verb prints as JSON."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SWEEPS_HOME": str(project_root())}
    command = [sys.executable, "-m", "sweeps", *arguments, "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def as_run(toml: str, study: str) -> StudyConfig:
    """Returns the configuration that a study was last run with, from what its report says of it."""
    tables = tomllib.loads(toml)
    return StudyConfig.from_dict(tables | {"study": tables.get("study", {}) | {"name": study}})


def effort(told: Mapping[str, Any], report: EnsembleReport, paths: StudyPaths, machine: str) -> str:
    """Returns in a paragraph how long the study took, on what, and what it tried."""
    spent, commits = told["effort"], told["origins"]["commits"]
    counts = [f"{spent[state]} {state}" for state in ("complete", "pruned", "diverged", "failed", "waiting")]
    if spent["members"]:
        counts[0] += f" ({spent['members']} of them members of the final stage)"
    sentences = []
    if spent["elapsed_s"] is not None:
        sentences.append(f"{clock(spent['elapsed_s'])} of wall-clock for all trials on {machine}.")
    begun = TrialLog.first_start(paths.parent)
    if begun is not None:
        whole_s = datetime.fromisoformat(report.time).timestamp() - begun["time_ms"] / 1000
        sentences.append(f"The ensemble was there {clock(whole_s)} after the study had begun.")
    sentences.append(f"{clock(spent['seconds'])} of training on all workers, {spent['epochs']} epochs.")
    sentences.append(f"Trials: {', '.join(counts)}.")
    by = [f"`{commit}`" + (f" ({count} trials)" if len(commits) > 1 else "") for commit, count in commits.items()]
    also = "" if report.commit is None or report.commit in commits else f", its ensemble by `{report.commit}`"
    sentences.append(f"Run by commit {' and '.join(by) or 'unknown'}{also}.")
    return " ".join(sentences)


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
    lines += [f"{_PYTHON} robustness {word}{option_of(found)}" for found in tried]
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


def leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all values of nested tables by dotted paths."""
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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


def figures(report: EnsembleReport) -> str:
    """Returns what the ensemble is worth, with 95 % intervals, beside its members."""
    lines = [
        "| images | how many | accuracy of the ensemble | 95 % interval | loss | its members' accuracies |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    parts = (
        (report.chosen_by, "validation_images", report.scores.val, [each.scores.val for each in report.members]),
        ("test", "test_images", report.scores.test, [each.scores.test for each in report.members]),
    )
    for part, key, ours, alone in parts:
        count = int(report.data[key])
        lines.append(f"| {part} | {count:,} | {' | '.join((*cells(ours, count), span(alone)))} |")
    return "\n".join([*lines, "", "Wilson's intervals: they tell what other images would have changed."])


def cells(ours: Score, count: int) -> tuple[str, str, str]:
    """Returns an accuracy, its interval and a loss as text."""
    share = share_interval(ours.accuracy, count)
    return f"**{100 * share.estimate:.2f} %**", f"{100 * share.low:.2f} – {100 * share.high:.2f} %", f"{ours.loss:.4f}"


def span(scores: Sequence[Score]) -> str:
    """Returns the least and the highest of members' accuracies."""
    shares = sorted(100 * each.accuracy for each in scores)
    return f"{shares[0]:.2f} – {shares[-1]:.2f} %" if len(shares) > 1 else f"{shares[0]:.2f} %"


def shifted(markdown: str) -> str:
    """Returns a document whose headings lie one level deeper."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in markdown.rstrip().splitlines())


def robustness(paths: StudyPaths, report: EnsembleReport) -> list[tuple[Robustness, str]]:
    """Returns what this ensemble makes of changed images, with its pages, as far as it was measured."""
    found = [(read_robustness(path), path) for path in sorted(paths.parent.glob("robustness*.json"))]
    return [
        (each, path.with_suffix(".md").read_text(encoding="utf-8"))
        for each, path in found
        if each is not None and each.digest == report.digest  # and not an earlier one's
    ]


def table(trials: pandas.DataFrame) -> str:
    """Returns the trials in Markdown."""
    shown = trials[[name for name in SHOWN if name in trials]].copy()
    for name in _DIGITS.keys() & set(shown):
        shown[name] = shown[name].map(f"{{:.{_DIGITS[name]}f}}".format, na_action="ignore")
    shown["trial"] = shown["trial"].map("#{:03d}".format)
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for row in shown.astype(object).where(shown.notna(), "").itertuples(index=False):
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
