"""All recorded runs of a study beside each other: docs/results/STUDY.md, made from what their records keep.

Each record leaves its figures in STUDY-seedN.json and its trials in STUDY-seedN-trials.csv. This page is made from
these each time that a record is written, so it cannot say anything else than they do.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from docs.commands import text_of
from docs.markdown import row
from docs.ranges import ranges_table, searched_trials
from mnistnn.files import atomic_write
from sweeps.config import StudyConfig
from sweeps.config.duration import clock
from sweeps.config.toml import leaves
from sweeps.ensemble.difference import mean_interval
from sweeps.ensemble.evaluate import Interval, share_interval
from sweeps.ensemble.record import EnsembleReport
from sweeps.robustness.record import Robustness

__all__ = ["facts_of", "write_facts", "write_summary"]


def facts_of(
    told: Mapping[str, Any],
    run: StudyConfig,
    report: EnsembleReport,
    tried: Iterable[Robustness],
    whole_s: float | None,
    command_s: float | None,
    machine: str,
) -> dict[str, Any]:
    """Returns what a run comes to, as plain values.

    Args:
        told: what `report --json` says of the study.
        run: the configuration that it was run with.
        report: on its ensemble.
        tried: the ensemble on changed images, as far as that was measured.
        whole_s: from the study's begin to its ensemble; None where that is not known.
        command_s: from the first command to its end, with the set-up; None where nobody has told it.
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
        "command_s": command_s,
        "trials": {name: told["effort"][name] for name in counts},
        "members": len(report.members),
        "method": report.method,
        "chosen_by": _part(report.scores.val.accuracy, report.scores.val.loss, int(report.data["validation_images"]))
        | {"part": report.chosen_by, "answers": report.answers},
        "test": _part(report.scores.test.accuracy, report.scores.test.loss, int(report.data["test_images"]))
        | {"members": [each.scores.test.accuracy for each in report.members]},
        "changed": {}
        if changed is None
        else {
            each.name: _part(each.ensemble.accuracy.estimate, each.ensemble.loss, each.ensemble.images)
            for each in changed.groups
        },
        "settings": tomllib.loads(told["origins"]["toml"]),
    }


def _part(accuracy: float, loss: float, images: int) -> dict[str, Any]:
    return {"images": images, "accuracy": accuracy, "loss": loss}


def write_facts(file: Path, facts: Mapping[str, Any]) -> None:
    """Writes the facts of a run for `write_summary`."""
    with atomic_write(file, "w") as out:
        json.dump(facts, out, indent=1, ensure_ascii=False)
        out.write("\n")


def write_summary(folder: Path, study: str) -> Path:
    """Writes STUDY.md from the records of a study that lie in a folder."""
    name = re.compile(rf"{re.escape(study)}-seed\d+\.json")  # and not night-seeds-seed1.json, which is another study's
    files = [file for file in folder.iterdir() if name.fullmatch(file.name)]
    runs = sorted((json.loads(file.read_text(encoding="utf-8")) for file in files), key=lambda facts: facts["seed"])
    tables = [pandas.read_csv(folder / f"{study}-seed{facts['seed']}-trials.csv") for facts in runs]
    count = f"{len(runs)} recorded runs" if len(runs) > 1 else "One recorded run"
    parts = [
        f"# Study {study}",
        f"{count}; each has a page with every trial, its configuration and the commands to repeat it.",
        _runs(runs),
        _times(runs),
        *_intervals(runs),
        *_settings(runs),
        *_changed(runs),
        *_ranges(tables),
    ]
    file = folder / f"{study}.md"
    with atomic_write(file, "w") as page:
        page.write("\n\n".join(parts) + "\n")
    return file


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """Returns a row for each run, and one for their mean where there are several."""
    lines = [
        "| run | commit | wall-clock | with set-up | searched | judged by | members | held-out images "
        "| accuracy on these | test accuracy | members on test |",
        "|---|---|--:|--:|--:|---|--:|---|--:|--:|--:|",
    ]
    for run in runs:
        trials, alone = run["trials"], sorted(run["test"]["members"])
        searched = sum(trials[state] for state in ("complete", "pruned", "diverged", "failed")) - trials["members"]
        cells = (
            f"[seed {run['seed']}]({run['study']}-seed{run['seed']}.md)",
            f"`{run['commit'][:7]}`",
            *("" if seconds is None else clock(seconds) for seconds in (run["whole_s"], run["command_s"])),
            f"{searched}",
            f"`{run['metric']}`",
            f"{run['members']}",
            _held_out(run),
            _share(run["chosen_by"]),
            f"**{_share(run['test'])}**",
            f"{100 * alone[0]:.2f} – {_percent(alone[-1])}",
        )
        lines.append(row(cells))
    if len(runs) > 1:
        held_out = {(run["chosen_by"]["part"], _answers(run)) for run in runs}
        are_alike = len(held_out) == 1  # else there is nothing to take a mean of
        chosen, test = (_mean([run[part]["accuracy"] for run in runs]) for part in ("chosen_by", "test"))
        lines.append(row((f"mean of {len(runs)} runs", *[""] * 7, chosen if are_alike else "", f"**{test}**", "")))
    return "\n".join(lines)


def _held_out(run: Mapping[str, Any]) -> str:
    """Returns which images chose, and how many of the members may answer for one of them."""
    text, answers = f"{run['chosen_by']['images']:,} {run['chosen_by']['part']}", _answers(run)
    return text if answers is None else f"{text}, {answers:.1f} answers each"


def _answers(run: Mapping[str, Any]) -> float | None:
    """Returns how many answers an image that chose has; None where all members have answered, or it is not known."""
    answers: float | None = run["chosen_by"].get("answers")
    return None if answers is None or answers >= run["members"] else round(answers, 1)


def _times(runs: Sequence[Mapping[str, Any]]) -> str:
    """Returns what the times are from and to, and on which machine."""
    machines: dict[str, list[str]] = {}
    for run in runs:
        machines.setdefault(run["machine"], []).append(f"seed {run['seed']}")
    told = "; ".join(f"{', '.join(seeds)}: {machine}" for machine, seeds in machines.items())
    return (
        "Wall-clock: from the study's begin to its ensemble; with set-up: from the first command to its end, the "
        f"submission, where that was told. Machines: {told}."
    )


def _intervals(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns how to read the intervals."""
    told = ["In brackets: 95 % intervals. Of a run: Wilson's, what other images would have changed."]
    if len(runs) > 1:
        told.append(
            "Of a mean: Student's, over so many runs, what other runs would have changed; it takes no account of other "
            "images."
        )
        if _differences(runs):
            told.append("The runs were not set alike, so this is the mean of these runs and not of one study's seeds.")
    return [" ".join(told)]


def _settings(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what was set otherwise in one run than in another."""
    differences = _differences(runs)
    if not differences:
        return []
    lines = [row(("setting", *_names(runs))), "|---|" + "---|" * len(runs)]
    lines += [row((f"`{path}`", *values)) for path, values in differences.items()]
    return ["## What was set otherwise", "\n".join(lines), "Where nothing stands, the default of that commit held."]


def _differences(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Returns each run's value, as it is written, of all settings but the seed that are not the same in all runs."""
    settings = [dict(leaves(run["settings"])) for run in runs]
    found = {}
    for path in sorted({path for each in settings for path in each} - {"study.seed"}):
        values = [f"`{text_of(path, each[path])}`" if path in each else "" for each in settings]
        if len(set(values)) > 1:
            found[path] = values
    return found


def _changed(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the ensembles on changed test images, of the runs of which that was measured."""
    known = [run for run in runs if run["changed"]]
    if not known:
        return []
    mean = [f"mean of {len(known)} runs"] if len(known) > 1 else []
    heads = [name + _sampled(run) for name, run in zip(_names(known), known, strict=True)]
    lines = [row(("images", *heads, *mean)), "|---|" + "--:|" * (len(known) + len(mean))]
    for name in dict.fromkeys(name for run in known for name in run["changed"]):
        parts = [run["changed"].get(name) for run in known]
        cells = ["" if part is None else _share(part) for part in parts]
        if mean:
            counts = {part["images"] for part in parts if part}  # of other images it would be no mean of runs
            is_mean = None not in parts and len(counts) == 1
            cells.append(_mean([part["accuracy"] for part in parts if part]) if is_mean else "")
        lines.append(row((name, *cells)))
    return ["## On changed test images", "\n".join(lines), "How they are made is on each run's page."]


def _sampled(run: Mapping[str, Any]) -> str:
    """Returns how many of the test images were changed, where it was not all of them."""
    first = next(iter(run["changed"].values()))
    return "" if first["images"] == run["test"]["images"] else f", {first['images']:,} images"


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


def _names(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"seed {run['seed']}" for run in runs]


def _share(part: Mapping[str, Any]) -> str:
    """Returns a run's accuracy with its interval."""
    return _with_interval(share_interval(part["accuracy"], part["images"]))


def _mean(accuracies: Sequence[float]) -> str:
    """Returns the mean over at least two runs with its interval, which for a few runs can reach further than 100 %."""
    mean = mean_interval(accuracies)
    return "" if mean is None else _with_interval(Interval(mean.estimate, max(0.0, mean.low), min(1.0, mean.high)))


def _with_interval(share: Interval) -> str:
    return f"{_percent(share.estimate)} ({100 * share.low:.2f} – {100 * share.high:.2f})"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
