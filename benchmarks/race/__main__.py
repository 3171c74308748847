"""The command line of the race: `python -m benchmarks.race`."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mnistnn.errors import InputError
from sweeps.cli.options import PATH, Verbs, options, show

if TYPE_CHECKING:
    from benchmarks.race.processes import Competitors
    from benchmarks.race.settings import Settings

__all__ = ["cli"]

_KEEP_PAGES = click.option(
    "--keep-pages", is_flag=True, help="Let both sides' malloc keep what they free (glibc); see docs/race.md."
)

_SETTINGS = click.option(
    "--settings",
    "settings_file",
    type=PATH,
    metavar="TOML",
    help="Another training than benchmarks/race's.",
)


@click.group(cls=Verbs)
def cli() -> None:
    """This network and the same one in PyTorch learn MNIST from scratch, one thread each."""


@cli.command()
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and order.")
@click.option("--record", type=PATH, metavar="GIF", help="Write what a terminal shows to an animated GIF, too.")
@_KEEP_PAGES
@_SETTINGS
@options("data_dir")
def live(seed: int, record: Path | None, keep_pages: bool, settings_file: Path | None, data_dir: Path | None) -> None:
    """Race once, both sides at the same time, and show it as it runs."""
    _need_torch()
    from benchmarks.race.recording import Moment, check_recording, write_gif
    from benchmarks.race.scene import Scene
    from benchmarks.race.screen import PlainLines, Terminal, draws
    from sweeps.workers.cores import usable_cores

    if record:
        check_recording(record)
    moments: list[Moment] = []
    purpose = f"make race, seed {seed}"
    with _competitors(purpose, settings_file, data_dir, keep_pages) as (competitors, settings, images):
        _say("warming up both sides …")
        ready = competitors.ready()
        scene = Scene.of(settings, ready, seed, images)
        with Terminal(scene) if draws(sys.stdout) else PlainLines(scene) as display:
            began = time.monotonic()
            for event in competitors.race(seed, curve=20, together=usable_cores() > 1):
                moments.append((time.monotonic() - began, event))
                scene.take(event)
                display.take(event)
    if record:
        write_gif(record, Scene.of(settings, ready, seed, images), moments)
        _say(f"recorded in {record} ({record.stat().st_size / 1e3:.0f} kB)")


@cli.command()
@click.argument("count", type=click.IntRange(min=1))
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of COUNT in a row.")
@click.option("--output", type=PATH, metavar="FILE", help="Write each race, and what they say together: .json or .csv.")
@click.option("--page", "page_file", type=PATH, metavar="MD", help="Put it into this page, too, between its marks.")
@_KEEP_PAGES
@_SETTINGS
@options("data_dir")
def seeds(
    count: int,
    first_seed: int,
    output: Path | None,
    page_file: Path | None,
    keep_pages: bool,
    settings_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Race COUNT times, one side after the other, and print what the races say together."""
    _need_torch()
    from benchmarks.race import page, summary
    from benchmarks.results import environment

    summary.check_output(output)
    if page_file:
        page.check_page(page_file, keep_pages=keep_pages)
    results: list[summary.Result] = []
    asked = " ".join(filter(None, (f"--first-seed {first_seed}" * bool(first_seed), "--keep-pages" * keep_pages)))
    command = f"make race SEEDS={count}" + (f' ARGS="{asked}"' if asked else "")
    with _competitors(command, settings_file, data_dir, keep_pages) as (competitors, settings, _):
        _say("warming up both sides …")
        ready = competitors.ready()
        facts = summary.facts(settings, ready, environment(command), keep_pages=keep_pages)
        for line in summary.head(facts):
            show(line)
        for seed in range(first_seed, first_seed + count):
            result = summary.Result.of(seed, competitors.race(seed))
            results.append(result)
            show(summary.line(result))
            if output:  # after each, so that what was raced is kept whatever happens
                summary.write(output, results, settings.goal, facts)
    show("\n".join(["", *summary.lines(results, settings.goal)]))
    if page_file:
        page.insert(page_file, results, settings.goal, facts)


@cli.command()
@click.option("--seeds", "count", type=click.IntRange(min=1), default=8, show_default=True, help="Trainings of each.")
@click.option("--change", "changes", multiple=True, metavar="NAME=VALUE …", help="Try this instead of the table's.")
@click.option("--output", type=PATH, metavar="CSV", help="Write each training.")
@options("data_dir")
def tune(count: int, changes: tuple[str, ...], output: Path | None, data_dir: Path | None) -> None:
    """Train on 50,000 images in several ways, and print how they do on the other 10,000 training images."""
    from threadpoolctl import threadpool_limits

    from benchmarks.race import tuning
    from benchmarks.race.settings import load_settings
    from mnistnn.data import find_dataset
    from sweeps.paths import Paths, project_root

    threadpool_limits(1)
    settings, first = load_settings(), tuning.FIRST_SEED
    dataset = find_dataset(data_dir, cache=Paths(project_root()).data, progress=True)
    tried: list[tuning.Tried] = []
    for each in tuning.try_all(settings, dataset, changes or tuning.CHANGES, range(first, first + count)):
        tried.append(each)
        _say(f"{each.change or 'as it is'}: seed {each.seed}, {each.accuracy:.2%}, {each.seconds:.1f} s")
        if output:
            tuning.write(output, tried)
    show(tuning.table(tried, settings.goal))


@contextlib.contextmanager
def _competitors(
    purpose: str, settings_file: Path | None, data_dir: Path | None, keep_pages: bool
) -> Iterator[tuple[Competitors, Settings, int]]:
    """Opens the test images and starts both sides; gives them, the settings and the number of training images.

    Whatever asks the process to end takes the sides with it.
    """
    from benchmarks.race.processes import Competitors, SideFailed
    from benchmarks.race.settings import SETTINGS, load_settings
    from mnistnn.data import find_dataset
    from sweeps.paths import Paths, project_root
    from sweeps.workers.signals import interrupting

    settings = load_settings(settings_file or SETTINGS)
    paths = Paths(project_root())
    dataset = find_dataset(data_dir, cache=paths.data, progress=True)
    test = dataset.open_test(purpose, paths.test_ledger)
    try:
        with (
            interrupting(),
            Competitors(settings, dataset, test, cache=paths.data, keep_pages=keep_pages) as competitors,
        ):
            yield competitors, settings, len(dataset.train_labels)
    except SideFailed as error:
        _say(f"error: {error}")
        raise SystemExit(1) from None


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise InputError(
            f"a race must have PyTorch to race against, but {sys.executable} has none; `make race` installs it."
        )


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    cli(prog_name="python -m benchmarks.race")
