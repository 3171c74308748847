"""Verbs that open a page on this machine."""

from __future__ import annotations

import warnings

import click

from sweeps.cli.completion import STUDY
from sweeps.cli.options import options, read_study
from sweeps.paths import Paths, project_root

__all__ = ["dashboard", "serve"]


@click.command()
@click.argument("study", type=STUDY)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="[default: 5010, or a free one]")
@options("open", "json")
def serve(study: str, port: int | None, open_browser: bool, as_json: bool) -> None:
    """Draw a digit for a study's ensemble, on a local page.

    The page shows the probabilities of the ensemble and of each member, and the image that they were given. It also
    takes a PNG or a JPEG of any size. Only this machine can reach it.
    """
    from sweeps.ensemble.record import load_report

    config = read_study(study)
    paths = Paths(project_root()).study(config.name)
    report = load_report(paths)  # before what takes longer to import
    from sweeps.serve import App, Champion
    from sweeps.serve import serve as serve_page

    title = f"{config.name}, {report.title}"
    serve_page(App(Champion(report, paths)), title=title, port=port, open_browser=open_browser, as_json=as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="[default: 5010, or a free one]")
@options("open", "storage", "json")
def dashboard(study: str, port: int | None, open_browser: bool, storage: str | None, as_json: bool) -> None:
    """Open Optuna Dashboard on a study.

    It may be running: the pages follow it. Notes on it and its trials are kept; whatever else the pages offer to change
    is refused, for it would part the study from its files and its workers. Only this machine can reach it. Optuna
    Dashboard is an extra, which `make dashboard` installs.
    """
    from sweeps.serve import serve as serve_page
    from sweeps.serve.dashboard import Dashboard

    warnings.filterwarnings("ignore", module="optuna", category=UserWarning)  # of trials too few to say what matters
    name = read_study(study).name
    app = Dashboard(name, storage, Paths(project_root()).study(name))
    title = f"{name}, Optuna Dashboard"
    serve_page(app, title=title, page=app.page, port=port, open_browser=open_browser, as_json=as_json)
