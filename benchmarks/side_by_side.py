"""Measures this project's nets against PyTorch's, in turns, in one run. `make bench` runs all of it.

python benchmarks/side_by_side.py --nets conv2 --rounds 20
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from benchmarks.contenders import FLOAT64, LAYOUTS, OURS, PLAIN
from benchmarks.goals import goals
from benchmarks.inference import measure_inference
from benchmarks.measure import Spread, cores, limit_threads, sgemm_peak
from benchmarks.memory import measure_memory
from benchmarks.nets import NAMES, Case, drawn_cases, named_case
from benchmarks.page import BY_HAND, PICTURE, page
from benchmarks.picture import draw_picture
from benchmarks.results import Results, environment, load, save
from benchmarks.shares import measure_shares
from benchmarks.steps import COMPILED, StepRow, measure_step
from benchmarks.workers import measure_workers

PARTS = ("steps", "inference", "memory", "workers", "shares")
COLUMNS = {OURS: "ours", PLAIN: "plain", LAYOUTS[0]: "NCHW", LAYOUTS[1]: "ch.last", COMPILED: "compiled"}

_PAGE, _FIGURES = "benchmarks.md", "benchmarks.json"
_QUICK_NETS = ("report", "conv2", "mlp3")
_SCALED, _SHARED = "conv2", ("conv2", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and how long."""

    cases: list[Case]
    parts: tuple[str, ...]
    threads: list[int]
    rounds: int
    compile_limit_s: float
    quick: bool


@click.command()
@click.option("--nets", multiple=True, metavar="NAME", help=f"Of {', '.join(NAMES)}, draw-01 …; all that have names.")
@click.option("--draws", default=0, show_default=True, type=click.IntRange(0), help="Nets from the default space.")
@click.option("--parts", multiple=True, default=("steps",), show_default=True, type=click.Choice([*PARTS, "all"]))
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1), help="Turns of each contender.")
@click.option("--threads", multiple=True, default=("1",), show_default=True, metavar="N|all")
@click.option("--compile-limit", default=0.0, show_default=True, help="Seconds for torch.compile; 0: without it.")
@click.option("--quick", is_flag=True, help="Few nets, few rounds, one thread, nothing compiled: two minutes.")
@click.option("--output", type=click.Path(path_type=Path), help="The folder to write page, picture and figures to.")
@click.option("--render", is_flag=True, help="Measure nothing; write page and picture from the figures in --output.")
def main(
    nets: tuple[str, ...],
    draws: int,
    parts: tuple[str, ...],
    rounds: int,
    threads: tuple[str, ...],
    compile_limit: float,
    quick: bool,
    output: Path | None,
    render: bool,
) -> None:
    """Measure this project's nets against PyTorch's, side by side. Options with a word may be repeated."""
    if render:
        if output is None or not (output / _FIGURES).is_file():
            raise click.UsageError(f"`--render` must have a folder with {_FIGURES}; name one with --output.")
        write(load(output / _FIGURES), output)
        return
    if importlib.util.find_spec("torch") is None:
        raise click.UsageError("PyTorch must be installed to be measured, but is not; `make setup-bench` does it.")
    if quick:
        nets, draws, threads = nets or _QUICK_NETS, min(draws, 5), threads[:1]
        rounds, compile_limit = min(rounds, 6), 0.0
    plan = Plan(
        cases=chosen_cases(nets, draws),
        parts=PARTS if "all" in parts else parts,
        threads=thread_counts(threads),
        rounds=rounds,
        compile_limit_s=compile_limit,
        quick=quick,
    )
    results = Results(
        environment=environment(f"python benchmarks/side_by_side.py {shlex.join(sys.argv[1:])}".strip()),
        quick=quick,
        rounds=rounds,
    )
    try:
        measure(plan, results)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    if found := goals(results):
        click.echo("\nwhat was to be reached, on one thread")
        for goal in found:
            click.echo(f"  {'yes' if goal.reached else 'NO ':3} {goal.what}: {goal.figure} (wanted {goal.wanted})")
    if output is not None:
        write(results, output)


def chosen_cases(names: tuple[str, ...], draws: int) -> list[Case]:
    """Returns the nets of these names, all named ones where there are none, and so many draws."""
    try:
        named = [named_case(name) for name in names or NAMES]
    except KeyError as error:
        raise click.UsageError(f"`--nets` must be of {', '.join(NAMES)}, draw-01 and on, but got {error}.") from None
    return named + (drawn_cases(draws) if draws else [])


def thread_counts(given: tuple[str, ...]) -> list[int]:
    """Returns the counts that `--threads` means, each once."""
    try:
        counts = [cores() if text == "all" else int(text) for text in given]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise click.UsageError(f"`--threads` must be 1 or more, or all, but got {', '.join(given)}.")
    return list(dict.fromkeys(counts))


def measure(plan: Plan, results: Results) -> None:
    """Measures all parts, prints each figure when it is there, and puts it into `results`."""
    named = [case for case in plan.cases if case.group == "named"]
    for count in plan.threads:
        with limit_threads(count):
            if "steps" in plan.parts:
                measure_steps(plan, count, results)
            if "inference" in plan.parts:
                print_inference_head(count)
                for case in named:
                    row = measure_inference(case, threads=count, rounds=max(1, plan.rounds // 2))
                    results.inference.append(row)
                    rates = "".join(f"{row.images_per_s[name].middle:12,.0f}" for name in (OURS, *LAYOUTS))
                    click.echo(f"{row.net:<13}{rates}  {shown(row.ratio)}")
    if "memory" in plan.parts:
        measure_memories(named, results, repeats=1 if plan.quick else 3)
    if "workers" in plan.parts and cores() > 1:
        rounds, seconds = (2, 0.5) if plan.quick else (10, 1.5)
        found = results.workers = measure_workers(_SCALED, rounds=rounds, seconds=seconds)
        click.echo(f"\ntwo workers over one, training {found.net}: {shown(found.train_gain)}")
        click.echo(f"two over one, bare sgemm:              {shown(found.sgemm_gain)}")
        click.echo(f"the first over the second:             {shown(found.share)}")
    if "shares" in plan.parts:
        click.echo("\nparts of an epoch                    batching, of a step    validation, of an epoch")
        for net in _SHARED:
            share = measure_shares(net, rounds=2 if plan.quick else 6, part=0.04 if plan.quick else 0.1)
            results.shares.append(share)
            click.echo(f"{net:<37}{share.data.middle:>12.2%}{share.validation.middle:>25.1%}")


def measure_steps(plan: Plan, threads: int, results: Results) -> None:
    """Measures the nets' steps; those of draws only for one thread, in half the rounds."""
    head = "".join(f"{name:>9}" for name in COLUMNS.values())
    click.echo(f"\n{threads} thread{'s' * (threads > 1)}: ms a step, and PyTorch's best over ours")
    click.echo(f"{'net':<13}{head}  {'ratio (10–90 %)':<20}GFLOP/s of peak")
    peak = 0.0
    for case in plan.cases:
        is_draw = case.group == "draw"
        if is_draw and threads > 1:
            continue
        peak = results.peaks[threads] = max(peak, sgemm_peak(tries=2 if peak else 5))
        row = measure_step(
            case,
            threads=threads,
            rounds=max(1, plan.rounds // 2) if is_draw else plan.rounds,
            plain=not is_draw,
            compile_limit_s=0.0 if is_draw else plan.compile_limit_s,
        )
        results.steps.append(row)
        print_step(row, peak)
    click.echo(f"sgemm peak   {peak / 1e9:.1f} GFLOP/s")


def print_step(row: StepRow, peak: float) -> None:
    """Prints a net's line."""
    times = "".join(f"{row.ms[name].middle:9.2f}" if name in row.ms else f"{'–':>9}" for name in COLUMNS)
    click.echo(f"{row.net:<13}{times}  {shown(row.ratio):<20}{row.flop_per_s / 1e9:7.1f} {row.flop_per_s / peak:>7.0%}")
    if FLOAT64 in row.ms:
        click.echo(f"{'':13}report's layers, float64: {row.ms[FLOAT64].middle:.1f} ms, {shown(row.others[FLOAT64])}")
    if row.note:
        click.echo(f"{'':13}{row.note}")


def print_inference_head(threads: int) -> None:
    """Prints what stands above the lines of inference."""
    click.echo(f"\n{threads} thread{'s' * (threads > 1)}: images a second")
    click.echo(f"{'net':<13}" + "".join(f"{COLUMNS[name]:>12}" for name in (OURS, *LAYOUTS)) + "  ratio (10–90 %)")


def measure_memories(cases: list[Case], results: Results, *, repeats: int) -> None:
    """Measures the nets' memory."""
    click.echo("\npeak memory in MB, of training (of the whole process)")
    click.echo(f"{'net':<13}" + "".join(f"{COLUMNS[name]:>16}" for name in (OURS, *LAYOUTS)))
    for case in cases:
        row = measure_memory(case.name, repeats=repeats)
        results.memory.append(row)
        peaks = [row.peaks[name] for name in (OURS, *LAYOUTS)]
        click.echo(
            f"{row.net:<13}" + "".join(f"{f'{peak.training_mb:.1f} ({peak.process_mb:.0f})':>16}" for peak in peaks)
        )


def shown(ratio: Spread) -> str:
    """Returns a ratio with its spread."""
    return f"{ratio.middle:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"


def write(results: Results, folder: Path) -> None:
    """Writes page, picture and figures; what the page has below its line for hands stays."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _PAGE
    earlier = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(page(results, earlier.partition(BY_HAND + "\n")[2]), encoding="utf-8")
    draw_picture(results, folder / PICTURE)
    save(results, folder / _FIGURES)
    click.echo(f"\nwrote {', '.join(str(folder / name) for name in (_PAGE, PICTURE, _FIGURES))}")


if __name__ == "__main__":
    main()
