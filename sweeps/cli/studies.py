"""Verbs on studies: what is run, and what came of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweeps.cli.completion import STUDY, TRIAL
from sweeps.cli.hints import by_make, show_more, show_next
from sweeps.cli.options import (
    PATH,
    Section,
    VerbWithNames,
    columns,
    duration,
    find_data,
    log_to,
    options,
    read_study,
    refuse_without,
    show,
    show_as,
)
from sweeps.paths import Paths, project_root

if TYPE_CHECKING:
    import optuna

    from sweeps.config import StudyConfig
    from sweeps.paths import StudyPaths
    from sweeps.workers.summary import RunSummary

__all__ = ["enqueue", "extend", "fork", "init", "report", "run", "trials", "ui", "worker"]


def _searchable() -> Sequence[Section]:
    from sweeps.single.names import searchable

    return searchable()


def _draw(study: optuna.Study, paths: StudyPaths, *args: Any) -> Sequence[str]:
    from sweeps.views.pictures.kept import keep_study_pictures  # when there is something to draw

    return keep_study_pictures(study, paths, *args)


@click.command(cls=VerbWithNames, names=_searchable)
@click.argument("study", type=STUDY)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes.  [default: one a usable core]")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="End this call after N more trials.")
@click.option("--timeout", "timeout_s", callback=duration, metavar="600|30m|2h", help="End this call after this time.")
@options("executor", "scheduler", "data_dir", "storage", "tracking_uri", "heartbeat", "overrides", "seed")
@options("pictures", "json", "quiet")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    study: str,
    data_dir: Path | None,
    storage: str | None,
    overrides: Sequence[str],
    seed: int | None,
    pictures: bool,
    **chosen: Any,
) -> int:
    """Run a study, or go on with it.

    It ends with the budget in its file; a finished one says so. Ctrl-C stops at the next step; each trial goes on in
    the next call where its last whole epoch ended.
    """
    if chosen["executor"] != "dask":
        refuse_without(ctx, "--executor dask", "scheduler")
    as_json = chosen.pop("as_json")
    config = read_study(study, overrides, seed)
    summary = _work(config, data_dir, storage, pictures, **chosen)
    table = "" if as_json or not summary.complete else _best_trials(config.name, storage)
    show_as(f"{summary}\n\n{table}" if table else str(summary), summary.to_dict(), as_json)
    if as_json or chosen["quiet"]:
        return summary.exit_code
    if summary.stopped_by in ("budget", "complete"):
        show_more(config, summary.total_s)
    if table and not summary.exit_code and not by_make():  # `make` goes on by itself
        show_next(config.name, _AFTER_ARMS if config.arms else _after(config.name, is_new=bool(summary.elapsed_s)))
    return summary.exit_code


def _work(
    config: StudyConfig, data_dir: Path | None, storage: str | None, pictures: bool, *, quiet: bool, **chosen: Any
) -> RunSummary:
    """Works on a study, alone or beside others."""
    from sweeps.workers.supervisor import run_study

    dataset = find_data(data_dir, quiet)
    chosen |= {"quiet": quiet, "finish": _draw if pictures else None}
    return run_study(config, root=project_root(), dataset=dataset, storage_url=storage, **chosen)


_NEXT = {
    "ensemble": "averages the best, and scores them on the test images",
    "submit": "writes the ensemble's answers",
    "report": "writes what came of it into one HTML file",
    "ui": "opens MLflow on all trials",
}


def _after(study: str, *, is_new: bool) -> dict[str, str]:
    """Returns what may follow a `run`; an ensemble that is there already only if there is anything new."""
    from sweeps.ensemble.record import RECORD

    is_done = not is_new and (Paths(project_root()).study(study).ensemble / RECORD).is_file()
    return {verb: what for verb, what in _NEXT.items() if not is_done or verb != "ensemble"}


_AFTER_ARMS = {
    "ablation": "compares the arms, in pairs of the same seed",
    "report": "writes what came of it into one HTML file",
    "ui": "opens MLflow on all trials",
}


def _best_trials(name: str, storage: str | None) -> str:
    from sweeps.study.storage import load_study
    from sweeps.views.trials import render_best

    return render_best(load_study(name, storage, Paths(project_root()).study(name), read_only=True), width=columns())


@click.command()
@click.argument("study", type=STUDY)
@options("data_dir", "storage", "tracking_uri", "overrides", "seed", "json", "quiet")
def init(
    study: str,
    data_dir: Path | None,
    storage: str | None,
    tracking_uri: str | None,
    overrides: Sequence[str],
    seed: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Prepare a study's stores, once, for workers on many machines.

    A `run` on one machine does so by itself.
    """
    from sweeps.workers.prepare import prepare_study

    config = read_study(study, overrides, seed)
    dataset = find_data(data_dir, quiet)
    stores = {"storage_url": storage, "tracking_uri": tracking_uri}
    prepared = prepare_study(config, root=project_root(), dataset=dataset, **stores)
    show_as(str(prepared), prepared.to_dict(), as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--timeout", "timeout_s", callback=duration, metavar="600|30m|2h", help="Leave after this time.")
@options("data_dir", "storage", "tracking_uri", "heartbeat", "overrides", "seed", "pictures", "json", "quiet")
def worker(
    study: str,
    data_dir: Path | None,
    storage: str | None,
    overrides: Sequence[str],
    seed: int | None,
    pictures: bool,
    **chosen: Any,
) -> int:
    """Work on a prepared study, beside any number of others.

    It is the same wherever it is: all that it needs are the project's folder, which workers share, and both stores. It
    leaves when the study's budget is used up; a signal stops it at the next step, and its trial goes on elsewhere.
    """
    as_json = chosen.pop("as_json")
    summary = _work(read_study(study, overrides, seed), data_dir, storage, pictures, joins=True, **chosen)
    show_as(str(summary), summary.to_dict(), as_json)
    return summary.exit_code


@click.command()
@click.argument("study", type=STUDY)
@click.option("--csv", type=PATH, metavar="FILE", help="Write all columns to FILE.")
@options("storage", "json")
def trials(study: str, csv: Path | None, storage: str | None, as_json: bool) -> None:
    """Print a study's trials, best first."""
    from sweeps.study.storage import load_study
    from sweeps.views.trials import render, to_json, trials_frame, write_csv

    name = read_study(study).name
    frame = trials_frame(load_study(name, storage, Paths(project_root()).study(name)))
    if csv is not None:
        write_csv(frame, csv)
    show(to_json(frame) if as_json else render(frame, columns()))


@click.command()
@click.argument("study", type=STUDY)
@click.option("--output", type=PATH, metavar="FILE", help="[default: STUDY-report.html at the top]")
@options("storage", "tracking_uri", "json", "quiet")
def report(
    study: str, output: Path | None, storage: str | None, tracking_uri: str | None, as_json: bool, quiet: bool
) -> None:
    """Write what came of a study into one HTML file.

    It says what won and whether to believe it, with pictures, all trials, and what it takes to do it again. The file
    needs no network and nothing beside it; a copy becomes an artifact of the study's run in MLflow. Nothing is trained,
    and no test image is opened.
    """
    from sweeps.views.report import write_report

    name, log = read_study(study).name, log_to(quiet)
    stores = {"storage_url": storage, "tracking_uri": tracking_uri}
    written = write_report(name, root=project_root(), output=output, echo=log, **stores)
    show_as(written.text(), written.to_dict(), as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.argument("values", nargs=-1, metavar="NAME=VALUE...")
@click.option("--from", "base", type=TRIAL, metavar="N", help="Take the other values from trial N.")
@options("storage", "json")
def enqueue(study: str, values: Sequence[str], base: int | None, storage: str | None, as_json: bool) -> None:
    """Queue a trial with chosen values.

    NAME is a column of `trials` (learning_rate, filters=32-64) or a full name (adam.learning_rate, kernel_2). What is
    not chosen is trial N's, else drawn as ever. Workers that are at the study take the trial up in its turn. It does
    not count towards the budget in trials; a budget in time holds for it too.
    """
    from sweeps.study.enqueue import enqueue as enqueue_trial
    from sweeps.study.storage import load_study

    config = read_study(study)
    paths = Paths(project_root()).study(config.name)
    queued = enqueue_trial(load_study(config.name, storage, paths), paths, values, base=base, budget=config)
    show_as(str(queued), queued.to_dict(), as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.argument("trial", type=TRIAL, metavar="N")
@click.option("--epochs", type=int, required=True, metavar="E", help="How many it shall have in all.")
@options("storage", "json")
def extend(study: str, trial: int, epochs: int, storage: str | None, as_json: bool) -> None:
    """Train trial N for more epochs, as a new trial.

    It begins with the last state of trial N, which has ended and stays as it is, and is not pruned. The learning rate
    goes on as in a training that was planned for E epochs. It does not count towards the budget in trials; a budget in
    time holds for it too.
    """
    from sweeps.study.extend import extend as extend_trial
    from sweeps.study.storage import load_study

    config = read_study(study)
    paths = Paths(project_root()).study(config.name)
    extended = extend_trial(load_study(config.name, storage, paths), paths, trial, epochs, budget=config)
    show_as(str(extended), extended.to_dict(), as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.argument("new")
@options("storage", "tracking_uri", "overrides", "json", "quiet")
def fork(
    study: str,
    new: str,
    storage: str | None,
    tracking_uri: str | None,
    overrides: Sequence[str],
    as_json: bool,
    quiet: bool,
) -> None:
    """Make study NEW of a study, with the trials that still fit.

    studies/NEW.toml gets the study's configuration, as it was last run, with the changes that --set makes. Trials that
    ended are imported, weights and runs included, if all their values lie in the new ranges and limits, and seed,
    metric and epochs are the same.
    """
    from sweeps.care.delivery import deliver
    from sweeps.study.fork import fork as fork_study
    from sweeps.workers.study_log import log_fork

    config, root = read_study(study), project_root()
    paths, log = Paths(root), log_to(quiet)
    record = functools.partial(log_fork, source=paths.study(config.name))
    forked = fork_study(config, new, root=root, overrides=overrides, storage_url=storage, record=record, echo=log)
    undelivered, reason = deliver(new, paths.study(new), root=root, tracking_uri=tracking_uri, echo=log)
    delivered = "has its runs" if reason is None else f"{undelivered:,} events wait for `run {forked.study}` ({reason})"
    tracked = {"undelivered": undelivered, "reason": reason}
    show_as(f"{forked}\nmlflow    {delivered}", forked.to_dict() | tracked, as_json)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="[default: a free one]")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen.  [default: this machine only]")
@click.option("--allowed-hosts", multiple=True, metavar="NAME", help="A name by which other machines may ask for it.")
@options("open", "tracking_uri", "json")
def ui(
    port: int | None,
    host: str,
    allowed_hosts: Sequence[str],
    open_browser: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Serve MLflow's pages, to this machine only unless told."""
    from sweeps.tracking.store import resolve_uri
    from sweeps.tracking.ui import serve

    root = project_root()
    names = [name for given in allowed_hosts for name in given.split(",")]
    serve(resolve_uri(tracking_uri, root), root, port, open_browser, host=host, names=names, as_json=as_json)
