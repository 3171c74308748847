"""Writes the whole record of a study's run into docs/results/: `make record STUDY=contest`.

The study must have its ensemble; its robustness on the test images is told if it was measured. Nothing is trained or
opened here: what is written is what the study's own verbs print.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mnistnn.files import atomic_write
from sweeps.config.duration import clock
from sweeps.config.file import find_study, load_study
from sweeps.errors import ConfigError, StudyError
from sweeps.paths import Paths, StudyPaths, project_root

#: Of a table of trials, what the Markdown shows; the CSV beside it has every column.
SHOWN = ["trial", "state", "from", "network", "val_loss", "val_accuracy", "epochs", "seconds", "params", "reason"]
_DIGITS = {"val_loss": 4, "val_accuracy": 4, "seconds": 1}


def main() -> None:
    """Writes NAME-seedN.md and NAME-seedN-trials.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", metavar="FOLDER")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores", help="what it ran on, in a few words")
    chosen = parser.parse_args()
    try:
        root = project_root()
        config, written = load_study(chosen.study, root=root), find_study(chosen.study, root)
        paths = Paths(root).study(config.name)
        if not (paths.ensemble / "report.md").is_file():
            raise StudyError(f"study {config.name!r} must have its ensemble; `make sweep STUDY={config.name}` first.")
    except (ConfigError, StudyError) as error:
        parser.exit(2, f"error: {error}\n")
    name = f"{config.name}-seed{config.seed}"
    trials = pandas.DataFrame(asked("trials", config.name))
    chosen.output.mkdir(parents=True, exist_ok=True)
    with atomic_write(chosen.output / f"{name}-trials.csv", "w") as file:
        trials.to_csv(file, index=False, lineterminator="\n")
    parts = [
        f"# Study {config.name}, seed {config.seed}",
        beginning(config.name, paths, chosen.machine),
        f"```\n{commands(config.name, paths)}\n```",
        shifted((paths.ensemble / "report.md").read_text(encoding="utf-8")),
        *robustness(paths),
        "## Every trial",
        f"Parameters and digests are in [{name}-trials.csv]({name}-trials.csv).",
        table(trials),
        "## The study",
        f"```toml\n{written.read_text(encoding='utf-8').rstrip()}\n```",
    ]
    with atomic_write(chosen.output / f"{name}.md", "w") as file:
        file.write("\n\n".join(parts) + "\n")
    print(chosen.output / f"{name}.md")


def asked(*arguments: str) -> Any:
    """Returns what a verb prints as JSON."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SWEEPS_HOME": str(project_root())}
    command = [sys.executable, "-m", "sweeps", *arguments, "--json"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def beginning(study: str, paths: StudyPaths, machine: str) -> str:
    """Returns in a paragraph how long the study took, on what, and what it tried."""
    told = asked("report", study)
    effort = told["effort"]
    record = json.loads((paths.ensemble / "ensemble.json").read_text(encoding="utf-8"))
    counts = ", ".join(f"{effort[state]} {state}" for state in ("complete", "pruned", "diverged", "failed", "waiting"))
    return (
        f"{told['verdict'][0]} {told['verdict'][1]}\n\n"
        f"{clock(effort['elapsed_s'])} of wall-clock for all trials on {machine} "
        f"({clock(effort['seconds'])} of training on all workers, {effort['epochs']} epochs): {counts}. "
        f"Commit `{record['commit']}`."
    )


def commands(study: str, paths: StudyPaths) -> str:
    """Returns what to type for the same again; what is proposed depends on which worker ends first."""
    commit = json.loads((paths.ensemble / "ensemble.json").read_text(encoding="utf-8"))["commit"]
    return "\n".join(
        (
            f"git checkout {(commit or 'HEAD').removesuffix('-dirty')[:12]}",
            f"make sweep STUDY={study}",
            f".venv/bin/python -m sweeps robustness {study} --test",
            f"make record STUDY={study}",
        )
    )


def shifted(markdown: str) -> str:
    """Returns a document whose headings lie one level deeper."""
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in markdown.rstrip().splitlines())


def robustness(paths: StudyPaths) -> list[str]:
    """Returns the tables of what this ensemble makes of changed images, as far as they were measured."""
    digest = json.loads((paths.ensemble / "ensemble.json").read_text(encoding="utf-8"))["digest"]
    pages = []
    for path in sorted(paths.parent.glob("robustness*.json")):
        if json.loads(path.read_text(encoding="utf-8"))["digest"] == digest:  # and not an earlier one's
            pages.append(shifted(path.with_suffix(".md").read_text(encoding="utf-8")))
    return pages


def table(trials: pandas.DataFrame) -> str:
    """Returns the trials in Markdown."""
    shown = trials[[name for name in SHOWN if name in trials]].copy()
    for name, digits in _DIGITS.items():
        shown[name] = shown[name].map(f"{{:.{digits}f}}".format, na_action="ignore")
    shown["trial"] = shown["trial"].map("#{:03d}".format)
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for row in shown.astype(object).where(shown.notna(), "").itertuples(index=False):
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
