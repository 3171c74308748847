"""Verbs on what a study keeps: looked over, made again, moved, and cleaned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sweeps.cli.completion import STUDY, TRIAL
from sweeps.cli.options import PATH, find_data, log_to, options, read_study, show_as
from sweeps.paths import Paths, project_root
from sweeps.workers.cores import one_thread

__all__ = ["clean", "doctor", "export", "import_", "replay"]


@click.command()
@click.argument("study", type=STUDY)
@click.option("--fix", is_flag=True, help="Mend what can be mended; else nothing at all is written.")
@options("storage", "tracking_uri", "json", "quiet")
def doctor(study: str, fix: bool, storage: str | None, as_json: bool, quiet: bool, **chosen: Any) -> int:
    """Hold a study's trials, files and runs against each other.

    What a living worker holds is in work, and not looked at. A kill does no harm: the next call goes on. The exit code
    is 0 if all is well, or was mended, else 1.
    """
    from sweeps.care.doctor import examine

    config = read_study(study)
    chosen |= {"fix": fix, "quiet": quiet, "echo": log_to(quiet)}
    report = examine(config, root=project_root(), storage_url=storage, **chosen)
    show_as(report.text(), report.to_dict(), as_json)
    return report.exit_code


@click.command()
@click.argument("study", type=STUDY)
@click.argument("number", type=TRIAL, metavar="N")
@click.option("--keep", is_flag=True, help="Put weights and other files where the trial's are missing or damaged.")
@options("data_dir", "storage", "json", "quiet")
def replay(
    study: str, number: int, keep: bool, data_dir: Path | None, storage: str | None, as_json: bool, quiet: bool
) -> int:
    """Train trial N again from its record, and compare.

    On the same machine by the same versions every loss and the weights come out as they are recorded, to the last bit.
    The study, its files and MLflow stay as they are. The exit code is 1 if something differs; --keep changes nothing
    then.
    """
    one_thread(always=True)
    from sweeps.care.replay import replay_trial

    found = replay_trial(
        read_study(study).name,
        number,
        root=project_root(),
        dataset=find_data(data_dir, quiet),
        storage_url=storage,
        keep=keep,
        progress=not quiet,
    )
    show_as(found.text(), found.to_dict(), as_json)
    return found.exit_code


@click.command()
@click.argument("study", type=STUDY)
@click.option("--output", type=PATH, metavar="FILE", help="[default: STUDY.tar at the top]")
@options("storage", "json", "quiet")
def export(study: str, output: Path | None, storage: str | None, as_json: bool, quiet: bool) -> None:
    """Write a study into one file.

    It holds the study's own file, its trials with all that they left, its ensembles, and a digest of each file. The
    study may be running: what runs goes on from its checkpoint where it is imported.
    """
    from sweeps.care.archive import export_study
    from sweeps.config.file import find_study

    config, paths = read_study(study), Paths(project_root())
    exported = export_study(
        config,
        find_study(study, paths.root),
        paths=paths.study(config.name),
        output=output or paths.root / f"{config.name}.tar",
        storage_url=storage,
        echo=log_to(quiet),
    )
    show_as(exported.text(), exported.to_dict(), as_json)


@click.command("import")
@click.argument("archive", type=PATH)
@click.option("--as", "name", metavar="NAME", help="Give the study another name.")
@click.option(
    "--max-size",
    "max_gb",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    metavar="GB",
    help="Refuse an archive whose files have more together.",
)
@options("storage", "tracking_uri", "json", "quiet")
def import_(
    archive: Path,
    name: str | None,
    max_gb: float,
    storage: str | None,
    tracking_uri: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a study of a file that `export` wrote.

    All of it is checked before anything of it is there. With --storage its trials go into that storage, else into a
    journal. Its runs are delivered to MLflow; if that is away, by the next `run`.
    """
    from sweeps.care.archive import import_study

    made = import_study(
        archive,
        root=project_root(),
        name=name,
        storage_url=storage,
        tracking_uri=tracking_uri,
        max_bytes=int(max_gb * 1e9),
        echo=log_to(quiet),
    )
    show_as(made.text(), made.to_dict(), as_json)


@click.command()
@click.argument("study", type=STUDY)
@click.option(
    "--keep",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="The best trials, which keep everything.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be freed, and free nothing.")
@click.option("--old-ensembles", is_flag=True, help="Free ensembles, too, that are not the last one and not submitted.")
@options("storage", "tracking_uri", "json", "quiet")
def clean(
    study: str,
    keep: int,
    dry_run: bool,
    old_ensembles: bool,
    storage: str | None,
    tracking_uri: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Free weights and checkpoints that nothing refers to.

    The best trials keep theirs, and so do members of ensembles and of submissions, and what waiting trials go on from;
    registered models have copies of their own. Results, histories and recipes stay: `replay STUDY N --keep` makes a
    trial whole again.
    """
    from sweeps.care.clean import clean_study

    config = read_study(study)
    cleaned = clean_study(
        config,
        root=project_root(),
        keep=keep,
        dry_run=dry_run,
        old_ensembles=old_ensembles,
        storage_url=storage,
        tracking_uri=tracking_uri,
        echo=log_to(quiet),
    )
    show_as(cleaned.text(), cleaned.to_dict(), as_json)
