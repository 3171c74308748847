"""Verbs that say which trials are better than others, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sweeps.cli.completion import STUDY, TRIAL
from sweeps.cli.options import (
    PATH,
    duration,
    find_data,
    log_to,
    options,
    read_study,
    refuse_beside,
    refuse_without,
    show_as,
)
from sweeps.paths import Paths, project_root

__all__ = ["ablation", "compare", "repeat"]


@click.command()
@click.argument("study", type=STUDY)
@click.argument("first", type=TRIAL, metavar="A")
@click.argument("second", type=TRIAL, metavar="B")
@options("storage", "json")
def compare(study: str, first: int, second: int, storage: str | None, as_json: bool) -> None:
    """Compare trials A and B side by side.

    Figures, parameters that differ, curves, cost; and whether one is more accurate than the other by more than chance,
    by what both predicted for the validation images.
    """
    from sweeps.study.storage import load_study
    from sweeps.views.compare import compare as compare_trials

    name = read_study(study).name
    paths = Paths(project_root()).study(name)
    found = compare_trials(load_study(name, storage, paths), paths, first, second)
    show_as(str(found), found.to_dict(), as_json)


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int]:
    if value is None:
        return []
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise click.BadParameter(f"it must be trials' numbers with commas between, such as 3,17, but got {value!r:.60}")
    return [int(part) for part in parts]


@click.command()
@click.argument("study", type=STUDY)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Repeat the N best.  [default: 5, or all]")
@click.option("--trials", "numbers", callback=_numbers, metavar="A,B,...", help="Repeat these trials instead.")
@click.option(
    "--seeds", type=click.IntRange(2, 1000), default=5, show_default=True, metavar="N", help="Repeats of each trial."
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: one a usable core]")
@click.option("--timeout", "timeout_s", callback=duration, metavar="600|30m|2h", help="End this call after this time.")
@options("executor", "scheduler", "data_dir", "storage", "tracking_uri", "heartbeat", "json", "quiet")
@click.pass_context
def repeat(
    ctx: click.Context,
    /,
    study: str,
    numbers: list[int],
    seeds: int,
    data_dir: Path | None,
    storage: str | None,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Repeat the best trials by other seeds, and compare.

    Each repeat is a trial of its own, with the values of the one that it repeats. It is not pruned, the sampler does
    not learn from it, and no budget pays for it. The same command goes on with what a signal stopped, and trains
    nothing twice.
    """
    from sweeps.study.storage import load_study
    from sweeps.views.repeats import compare_repeats
    from sweeps.workers.repeat import run_repeats

    if chosen["executor"] != "dask":
        refuse_without(ctx, "--executor dask", "scheduler")
    if numbers:
        refuse_beside(ctx, "--trials", "top")
    name, root = read_study(study).name, project_root()
    dataset = find_data(data_dir, chosen["quiet"])
    where: dict[str, Any] = {
        "root": root,
        "dataset": dataset,
        "numbers": numbers,
        "seeds": seeds,
        "storage_url": storage,
    }
    trials, summary = run_repeats(name, **where, **chosen)
    found = compare_repeats(load_study(name, storage, Paths(root).study(name)), trials, seeds)
    show_as(str(found), found.to_dict(), as_json)
    return 0 if summary is None else summary.exit_code


@click.command()
@click.argument("study", type=STUDY)
@click.option("--figure", "figures", multiple=True, metavar="NAME", help="Print this one.  [val_accuracy, val_loss]")
@click.option("--output", type=PATH, metavar="FILE", help="Write Markdown; a page with marks gets its tables anew.")
@options("storage", "tracking_uri", "json", "quiet")
def ablation(
    study: str,
    figures: Sequence[str],
    output: Path | None,
    storage: str | None,
    tracking_uri: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare the arms of a study that has [arms], once it was run.

    Each arm's mean over its seeds, and its difference from the arm that it is against, in pairs of the same seed, with
    intervals. Other figures: best_epoch, gap (last val - train loss), rise (val loss, last - best), and of nets with
    sigmoids start_saturated, start_overflow, start_largest. The whole table becomes an artifact of the study's run.
    """
    from sweeps.study.storage import load_study
    from sweeps.views.ablation import compare_arms
    from sweeps.views.ablation_figures import SHOWN
    from sweeps.views.ablation_page import render_page, write_page
    from sweeps.views.logged import keep_and_log

    name, root, log = read_study(study).name, project_root(), log_to(quiet)
    paths = Paths(root).study(name)
    found = compare_arms(load_study(name, storage, paths), paths)
    text = found.text(figures or SHOWN)
    if output is not None:
        marks = write_page(output, found)
        log(f"{output} was written" + (f": {marks} table{'s' if marks > 1 else ''} anew" if marks else ""))
    page = render_page(found)
    where: dict[str, Any] = {"root": root, "tracking_uri": tracking_uri, "echo": log}
    unlogged = keep_and_log({"ablation.md": page.encode()}, name, paths, **where)
    if unlogged:
        log(f"warning: MLflow does not have the table yet: {unlogged}.")
    show_as(text, found.to_dict(), as_json)
