"""All recorded runs of a study beside each other: docs/results/STUDY.md, made from what their records keep.

Each record leaves its figures in STUDY-seedN.json and its trials in STUDY-seedN-trials.csv. This page is made from
these each time that a record is written, so it cannot say anything else than they do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas

from docs.ranges import ranges_table, searched_trials
from mnistnn.files import atomic_write
from sweeps.config import StudyConfig
from sweeps.config.duration import clock
from sweeps.ensemble.difference import mean_interval
from sweeps.ensemble.evaluate import Score, share_interval
from sweeps.ensemble.record import EnsembleReport
from sweeps.robustness.record import Robustness

__all__ = ["facts_of", "write_facts", "write_summary"]

#: What of the changed images is shown beside the runs: the group's name.
SHOWN: Final = ("shift 4 px", "turn 20°", "affine", "noise σ 32", "noise σ 64", "occlusion", "other digits")


def facts_of(
    told: Mapping[str, Any],
    run: StudyConfig,
    report: EnsembleReport,
    tried: Iterable[Robustness],
    whole_s: float | None,
    machine: str,
) -> dict[str, Any]:
    """Returns what a run comes to, as plain values.

    Args:
        told: what `report --json` says of the study.
        run: the configuration that it was run with.
        report: on its ensemble.
        tried: the ensemble on changed images, as far as that was measured.
        whole_s: from the study's begin to its ensemble; None where that is not known.
        machine: what it ran on, in words.
    """
    changed = next((each for each in tried if each.part == "test"), None)
    counts = ("complete", "pruned", "diverged", "failed", "members", "epochs")
    return {
        "study": run.name,
        "seed": run.seed,
        "metric": run.metric,
        "commit": next(iter(told["origins"]["commits"]), "unknown"),
        "machine": machine,
        "whole_s": whole_s,
        "trials": {name: told["effort"][name] for name in counts},
        "members": len(report.members),
        "method": report.method,
        "chosen_by": _part(report.scores.val, int(report.data["validation_images"])) | {"part": report.chosen_by},
        "test": _part(report.scores.test, int(report.data["test_images"]))
        | {"members": [each.scores.test.accuracy for each in report.members]},
        "changed": {} if changed is None else {each.name: each.ensemble.accuracy.estimate for each in changed.groups},
    }


def _part(score: Score, images: int) -> dict[str, Any]:
    return {"images": images, "accuracy": score.accuracy, "loss": score.loss}


def write_facts(file: Path, facts: Mapping[str, Any]) -> None:
    """Writes the facts of a run for `write_summary`."""
    with atomic_write(file, "w") as out:
        json.dump(facts, out, indent=1, ensure_ascii=False)
        out.write("\n")


def write_summary(folder: Path, study: str) -> Path:
    """Writes STUDY.md from the records of a study that lie in a folder."""
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob(f"{study}-seed*.json")]
    runs.sort(key=lambda facts: facts["seed"])
    tables = [pandas.read_csv(folder / f"{study}-seed{facts['seed']}-trials.csv") for facts in runs]
    count = f"{len(runs)} recorded runs" if len(runs) > 1 else "One recorded run"
    parts = [
        f"# Study {study}",
        f"{count}; each has a page with every trial, its configuration and the commands to repeat it. Where a study's "
        "file was changed between two runs, their pages show by what.",
        _runs(runs),
        _mean(runs),
        *_changed(runs),
        *_ranges(tables),
    ]
    file = folder / f"{study}.md"
    with atomic_write(file, "w") as page:
        page.write("\n\n".join(part for part in parts if part) + "\n")
    return file


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| run | commit | wall-clock | searched | trials judged by | members | ensemble chosen by | accuracy by that "
        "| test accuracy | its 95 % interval | members on test |",
        "|---|---|--:|--:|---|--:|---|--:|--:|--:|--:|",
    ]
    for run in runs:
        trials, test, chosen = run["trials"], run["test"], run["chosen_by"]
        share, alone = share_interval(test["accuracy"], test["images"]), sorted(test["members"])
        cells = (
            f"[seed {run['seed']}]({run['study']}-seed{run['seed']}.md)",
            f"`{run['commit'][:7]}`",
            "" if run["whole_s"] is None else clock(run["whole_s"]),
            f"{sum(trials[name] for name in ('complete', 'pruned', 'diverged', 'failed')) - trials['members']}",
            f"`{run['metric']}`",
            f"{run['members']}",
            f"{chosen['images']:,} {chosen['part']} images",
            _percent(chosen["accuracy"]),
            f"**{_percent(share.estimate)}**",
            f"{100 * share.low:.2f} – {_percent(share.high)}",
            f"{100 * alone[0]:.2f} – {_percent(alone[-1])}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    machines = [f"seed {run['seed']}: {run['machine']}" for run in runs]
    return "\n".join(
        [*lines, "", f"Wall-clock: from the study's begin to its ensemble. Machines: {'; '.join(machines)}."]
    )


def _mean(runs: Sequence[Mapping[str, Any]]) -> str:
    """Returns the mean over runs; of one there is none."""
    mean = mean_interval([run["test"]["accuracy"] for run in runs])
    if mean is None:
        return ""
    return (
        f"**Mean of {len(runs)} runs: {_percent(mean.estimate)} of the test images**, 95 % t-interval of the mean "
        f"{100 * mean.low:.2f} to {_percent(mean.high)}: what other runs would come to on these images. It takes no "
        "account of other images, which the intervals in the table do."
    )


def _changed(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the ensembles on changed test images, of the runs of which that was measured."""
    known = [run for run in runs if run["changed"]]
    names = [name for name in SHOWN if any(name in run["changed"] for run in known)]
    if not names:
        return []
    lines = [f"| run | {' | '.join(names)} |", "|---|" + "--:|" * len(names)]
    for run in known:
        cells = (_percent(run["changed"][name]) if name in run["changed"] else "" for name in names)
        lines.append(f"| seed {run['seed']} | {' | '.join(cells)} |")
    return ["## On changed test images", "\n".join(lines), "How they are made is on each run's page."]


def _ranges(tables: Sequence[pandas.DataFrame]) -> list[str]:
    """Returns what the searches say of the ranges that were searched."""
    table = ranges_table(tables)
    if not table:
        return []
    count = sum(len(searched_trials(each)) for each in tables)
    told = (
        f"{count} trials that the sampler drew, each by its place among its own run's: the better half against all, "
        "and Spearman's correlation of the value with the place, above 0 where more of it stands further up (for "
        "choices without an order the p-value is Kruskal and Wallis's). p is corrected for the number of rows, by "
        "Holm: at 0.05 and above these trials do not show that the value matters. No figure here is of test images."
    )
    return ["## What the searches say of their ranges", told, table]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
