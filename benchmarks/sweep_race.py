"""Runs a study here, and its peer's, and compares how soon each has a good ensemble. `make bench-sweep` does it.

python benchmarks/sweep_race.py --budget 1m --output /tmp/race
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click
import numpy as np

from benchmarks.nets import ROOT
from benchmarks.page import BY_HAND
from benchmarks.peer_sweep import check
from benchmarks.results import environment
from benchmarks.sweep_page import PICTURE, draw_picture, page, verdict
from benchmarks.sweep_result import Race, Results, load, outcome, save
from benchmarks.sweep_sides import OURS, PEER, SIDES, Order, Sweep, run_side, warm_up
from mnistnn.data.sources import find_dataset
from mnistnn.errors import InputError
from sweeps.cli.options import options
from sweeps.config import load_study, parse_duration
from sweeps.config.duration import clock
from sweeps.paths import Paths, project_root
from sweeps.workers.cores import usable_cores
from sweeps.workers.signals import interrupting

__all__ = ["main"]

_PAGE, _FIGURES = "sweep_benchmark.md", "sweep_benchmark.json"


@click.command()
@click.argument("study", default="default")
@click.option("--budget", metavar="TIME", help="Of each sweep: 5m, 90s.  [default: the study's]")
@click.option("--seeds", metavar="N,N,…", help="A race each.  [default: the study's]")
@click.option("--first", type=click.Choice([*SIDES, "both"]), default=PEER, show_default=True, help="Who runs first.")
@click.option("--keep-pages", is_flag=True, help="Let both sides' malloc keep what they free (glibc).")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep both sides' folders, in DIR.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write page, picture and figures to DIR."
)
@click.option("--render", is_flag=True, help="Run nothing; write page and picture from the figures in --output.")
@options("data_dir", "quiet")
def main(
    study: str,
    budget: str | None,
    seeds: str | None,
    first: str,
    keep_pages: bool,
    keep: Path | None,
    output: Path | None,
    render: bool,
    data_dir: Path | None,
    quiet: bool,
) -> None:
    """Race the sweep of STUDY against that of Optuna and MLflow with PyTorch nets."""
    if render:
        if output is None or not (output / _FIGURES).is_file():
            raise click.UsageError(f"`--render` must have a folder with {_FIGURES}; name one with --output.")
        write(load(output / _FIGURES), output)
        return
    if importlib.util.find_spec("torch") is None:
        raise click.UsageError("PyTorch must be installed to race against; `make setup-bench` does it.")
    try:
        orders = _orders(study, budget, seeds, data_dir, keep_pages=keep_pages, quiet=quiet)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    if keep is not None and keep.exists():
        raise click.UsageError(f"`--keep` must not be there yet, but {keep} is; name another.")
    results = Results(
        environment=environment(f"python benchmarks/sweep_race.py {shlex.join(sys.argv[1:])}".strip()),
        versions={name: importlib.metadata.version(name.lower()) for name in ("Optuna", "MLflow")},
        study=orders[0].name,
        budget_s=orders[0].budget_s,
        study_s=orders[0].study_s,
        top=orders[0].top,
        workers=orders[0].workers,
        keep_pages=keep_pages,
    )
    try:
        with interrupting():
            warm_up()
            for order in orders:
                for leader in SIDES if first == "both" else (first,):
                    results.races.append(race(order, leader, keep))
                    _say_race(results)
                    if output is not None:  # after each, so that what was raced is kept whatever happens
                        write(results, output)
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, ValueError, OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(verdict(results))
    if output is not None:
        click.echo(f"wrote {', '.join(str(output / name) for name in (_PAGE, PICTURE, _FIGURES))}")


def race(order: Order, first: str, keep: Path | None = None) -> Race:
    """Runs both sides, one after the other.

    Args:
        order: what both do.
        first: OURS or PEER.
        keep: where both folders stay; by default they are removed.

    Raises:
        RuntimeError: a side failed, or they did not have the same validation images.
    """
    found: dict[str, Sweep] = {}
    seen: list[np.ndarray] = []
    with tempfile.TemporaryDirectory(prefix="sweep-race-") as temporary:
        home = Path(temporary) if keep is None else keep / f"seed-{order.seed}-{first}-first"
        for side in (first, PEER if first == OURS else OURS):
            found[side], labels = run_side(side, order, home / side)
            seen += [labels] if labels.size else []
    if len(seen) == len(SIDES) and not np.array_equal(*seen):
        raise RuntimeError("both sides must validate on the same images, but they did not.")
    return Race(seed=order.seed, first=first, ours=found[OURS], peer=found[PEER])


def write(results: Results, folder: Path) -> None:
    """Writes page, picture and figures; what the page has below its line for hands stays."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _PAGE
    earlier = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(page(results, earlier.partition(BY_HAND + "\n")[2]), encoding="utf-8")
    draw_picture(results, folder / PICTURE)
    save(results, folder / _FIGURES)


def _orders(
    study: str, budget: str | None, seeds: str | None, data_dir: Path | None, *, keep_pages: bool, quiet: bool
) -> list[Order]:
    """Returns what to do, seed by seed; whatever cannot be done is seen here.

    Raises:
        InputError: of the options, the study or the data.
    """
    config = load_study(study, root=ROOT)
    budget_s = config.budget.time_s if budget is None else parse_duration(budget)
    check(config)
    if budget_s is None:
        raise InputError(f"a race must have a budget in time, but study {config.name!r} has none; give --budget.")
    try:
        numbers = [int(text) for text in seeds.split(",")] if seeds else [config.seed]
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise InputError(f"`--seeds` must be numbers from 0, with commas between them, but got {seeds!r}.")
    dataset = find_dataset(data_dir, cache=Paths(project_root()).data, progress=not quiet)
    # Each side has a folder of its own, in which a name would not be found.
    files = (Path(study), ROOT / study, ROOT / "studies" / f"{study}.toml")
    file = next(file.resolve() for file in files if file.is_file())
    return [
        Order(
            study=file,
            name=config.name,
            top=config.ensemble.top,
            data=dataset.path,
            budget_s=budget_s,
            study_s=config.budget.time_s,
            seed=seed,
            workers=usable_cores(),
            keep_pages=keep_pages,
            quiet=quiet,
        )
        for seed in numbers
    ]


def _say_race(results: Results) -> None:
    last, budget_s = results.races[-1], results.budget_s
    click.echo(f"seed {last.seed}, {last.first} first")
    for side, sweep in ((OURS, last.ours), (PEER, last.peer)):
        complete, pruned = (sweep.count(state, budget_s) for state in ("COMPLETE", "PRUNED"))
        click.echo(f"  {side:<5} {sweep.begun(budget_s)} trials begun, {complete} complete, {pruned} pruned")
    found = outcome(last, budget_s)
    if found is None:
        click.echo("  the peer completed no trial in time")
        return
    since = "never for good" if found.ours_s is None else f"after {clock(found.ours_s)}"
    ours = "none" if found.ours is None else f"{found.ours.ensemble_loss:.4f}"
    click.echo(f"  peer's final loss {found.target:.4f}, first had after {clock(found.peer_s)}")
    click.echo(f"  ours had it {since}, and ends with {ours}")


if __name__ == "__main__":
    main()
