"""Verbs on what a study keeps: looked over, made again, moved, and cleaned."""

from __future__ import annotations

from typing import Any

import click

from sweeps.cli.options import log_to, options, read_study, show_as
from sweeps.paths import project_root

__all__ = ["doctor"]


@click.command()
@click.argument("study")
@click.option("--fix", is_flag=True, help="Mend what can be mended; else nothing at all is written.")
@options("storage", "tracking_uri", "json", "quiet")
def doctor(study: str, fix: bool, storage: str | None, as_json: bool, quiet: bool, **chosen: Any) -> int:
    """Hold a study's trials, files and runs against each other.

    What a living worker holds is in work, and not looked at. A kill does no harm: the next call goes on. The exit code
    is 0 if all is well, or was mended, else 1.
    """
    from sweeps.care.doctor import examine

    config = read_study(study)
    report = examine(config, root=project_root(), storage_url=storage, fix=fix, echo=log_to(quiet), **chosen)
    show_as(report.text(), report.to_dict(), as_json)
    return report.exit_code
