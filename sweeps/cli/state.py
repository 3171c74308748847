"""The verb that says how a study stands while others run it."""

from __future__ import annotations

import functools

import click

from sweeps.cli.completion import STUDY, TRIAL
from sweeps.cli.options import columns, options, read_study, refuse_beside, show, show_as
from sweeps.paths import Paths, project_root

__all__ = ["status"]


@click.command()
@click.argument("study", type=STUDY)
@click.argument("trial", type=TRIAL, required=False, metavar="[N]")
@click.option("--watch", is_flag=True, help="Show it again and again, until nobody works on it.")
@options("storage", "json")
@click.pass_context
def status(
    ctx: click.Context, /, study: str, trial: int | None, watch: bool, storage: str | None, as_json: bool
) -> None:
    """Say how a study stands, or its trial N.

    It may be running, here or elsewhere: who runs it, what each worker is at, the budget, the best trial, what waits.
    Of a trial: its parameters, its curve, its attempts and files. Nothing is written.
    """
    from sweeps.study.storage import load_study
    from sweeps.views.study_view import StudyView
    from sweeps.views.trial_status import trial_status
    from sweeps.views.watch import watch as watch_it

    if watch and as_json:
        refuse_beside(ctx, "--watch", "as_json")
    name = read_study(study).name
    paths = Paths(project_root()).study(name)
    opened = load_study(name, storage, paths, read_only=True)
    view = StudyView(opened, paths)
    look = view.look if trial is None else functools.partial(trial_status, opened, paths, trial)
    if watch:
        watch_it(look, show)
        return
    now = look()
    show_as(now.text(columns()), now.to_dict(), as_json)
