"""Writes the whole record of a study's run into docs/results/, and all its runs' page: `make record STUDY=contest`.

The study must have its ensemble; its robustness is told as far as it was measured. Nothing is trained or opened here,
and nothing is read from the study's file of today: what is written is what the study keeps of itself, so that runs by
other seeds have records of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs.commands import commands
from docs.markdown import row
from docs.summary import facts_of, write_facts, write_summary
from mnistnn.errors import InputError
from mnistnn.files import atomic_write
from sweeps.config import StudyConfig
from sweeps.config.duration import clock, parse_duration
from sweeps.config.file import find_study, load_study
from sweeps.ensemble.evaluate import Score, share_interval
from sweeps.ensemble.record import EnsembleReport, load_report
from sweeps.ensemble.report import copy_file
from sweeps.ensemble.wording import is_partial
from sweeps.errors import ConfigError
from sweeps.paths import Paths, StudyPaths, project_root
from sweeps.robustness.record import Robustness, read_robustness
from sweeps.tracking.events import TrialLog

_DIGITS = {"objective": 4, "val_loss": 4, "val_accuracy": 4, "seconds": 1}
#: Of a table of trials, what the Markdown shows; the CSV beside it has every column.
SHOWN = ["trial", "state", "from", "network", *_DIGITS, "epochs", "params", "reason"]


def main() -> None:
    """Writes NAME-seedN.md with its trials, its picture and its figures beside it, and NAME.md on all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results", metavar="FOLDER")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores", help="what it ran on, in a few words")
    parser.add_argument(
        "--whole",
        metavar="TIME",
        help="from the first command to its end, with the set-up, as `time make sweep` tells it: 1h56m46s",
    )
    chosen = parser.parse_args()
    try:
        root = project_root()
        file = find_study(chosen.study, root)
        study = load_study(file, root=root).name
        paths = Paths(root).study(study)
        report = load_report(paths)
        told = asked("report", str(file))
        whole_s = until_ensemble(report, paths)
        command_s = whole_command(chosen.whole, told["effort"]["elapsed_s"], whole_s)
    except InputError as error:
        parser.exit(2, f"error: {error}\n")
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
        effort(told, report, whole_s, command_s, chosen.machine),
        f"```\n{commands(told, run, report, [found for found, _ in tried], file, root)}\n```",
        "## Figures",
        figures(report),
        shifted((paths.ensemble / "report.md").read_text(encoding="utf-8")),
        *(part for _, page in tried for part in changed(page, chosen.output, name)),
        "## Every trial",
        f"Parameters and digests are in [{name}-trials.csv]({name}-trials.csv). Trial n draws all that is random in it "
        f"from the seed {run.seed} and n.",
        table(trials),
        "## The study, as it was run",
        f"```toml\n{told['origins']['toml'].rstrip()}\n```",
    ]
    with atomic_write(chosen.output / f"{name}.md", "w") as page_file:
        page_file.write("\n\n".join(parts) + "\n")
    facts = facts_of(told, run, report, [found for found, _ in tried], whole_s, command_s, chosen.machine)
    write_facts(chosen.output / f"{name}.json", facts)
    print(chosen.output / f"{name}.md")
    print(write_summary(chosen.output, study))


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


def until_ensemble(report: EnsembleReport, paths: StudyPaths) -> float | None:
    """Returns the seconds from the study's begin to its ensemble; None where the begin is not known."""
    begun = TrialLog.first_start(paths.parent)
    return None if begun is None else datetime.fromisoformat(report.time).timestamp() - begun["time_ms"] / 1000


def whole_command(told: str | None, elapsed_s: float | None, whole_s: float | None) -> float | None:
    """Returns the seconds that the whole command took, as far as somebody has told them.

    A study does not keep them: the first command makes its environment and fetches MNIST before there is a study.

    Args:
        told: as it was told.
        elapsed_s: by the study's clock, which counts a rest that was too short for another trial.
        whole_s: from the study's begin to its ensemble, which may have been built anew long after.

    Raises:
        ConfigError: it is no duration, or shorter than both of these.
    """
    if told is None:
        return None
    seconds = parse_duration(told)
    least_s = min((each for each in (elapsed_s, whole_s) if each is not None), default=0.0)
    if seconds < least_s:
        raise ConfigError(
            f"the whole must be at least the {clock(least_s)} of the study in it, but got {told!r:.60}; give "
            "--whole as `time make sweep` told it, like 1h56m46s, or leave it out."
        )
    return seconds


def changed(page: Path, output: Path, name: str) -> Iterator[str]:
    """Yields the page on changed images and, where it was drawn, its picture, which is copied beside the record."""
    yield shifted(page.read_text(encoding="utf-8"))
    picture = page.with_suffix(".png")
    if picture.is_file():
        copy_file(picture, output / f"{name}-{picture.name}")
        yield f"![accuracy on changed images]({name}-{picture.name})"


def effort(
    told: Mapping[str, Any], report: EnsembleReport, whole_s: float | None, command_s: float | None, machine: str
) -> str:
    """Returns in a paragraph how long the study took, on what, and what it tried."""
    spent, commits = told["effort"], told["origins"]["commits"]
    counts = [f"{spent[state]} {state}" for state in ("complete", "pruned", "diverged", "failed", "waiting")]
    if spent["members"]:
        counts[0] += f" ({spent['members']} of them members of the final stage)"
    sentences = [f"It ran on {machine}."]
    if spent["elapsed_s"] is not None:
        sentences.append(
            f"The study's clock stood at {clock(spent['elapsed_s'])}; it counts a rest too short for another trial."
        )
    if whole_s is not None:
        sentences.append(f"The ensemble was there {clock(whole_s)} after the study had begun.")
    if command_s is not None:
        sentences.append(f"It was {clock(command_s)} from the first command to its end, with the set-up.")
    sentences.append(f"{clock(spent['seconds'])} of training on all workers, {spent['epochs']} epochs.")
    sentences.append(f"Trials: {', '.join(counts)}.")
    by = [f"`{commit}`" + (f" ({count} trials)" if len(commits) > 1 else "") for commit, count in commits.items()]
    also = "" if report.commit is None or report.commit in commits else f", its ensemble by `{report.commit}`"
    sentences.append(f"Run by commit {' and '.join(by) or 'unknown'}{also}.")
    return " ".join(sentences)


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
        if part != "test" and is_partial(report.answers, len(alone)):
            part += f", {report.answers:.1f} answers each"
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


def robustness(paths: StudyPaths, report: EnsembleReport) -> list[tuple[Robustness, Path]]:
    """Returns what this ensemble makes of changed images, and on which pages, as far as it was measured."""
    found = [(read_robustness(path), path) for path in sorted(paths.parent.glob("robustness*.json"))]
    return [
        (each, path.with_suffix(".md"))
        for each, path in found
        if each is not None and each.digest == report.digest  # and not an earlier one's
    ]


def table(trials: pandas.DataFrame) -> str:
    """Returns the trials in Markdown."""
    shown = trials[[name for name in SHOWN if name in trials]].copy()
    for name in _DIGITS.keys() & set(shown):
        shown[name] = shown[name].map(f"{{:.{_DIGITS[name]}f}}".format, na_action="ignore")
    shown["trial"] = shown["trial"].map("#{:03d}".format)
    lines = [row(shown.columns), "|" + "---|" * len(shown.columns)]
    lines += map(row, shown.astype(object).where(shown.notna(), "").itertuples(index=False))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
