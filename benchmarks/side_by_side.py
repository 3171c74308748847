"""Measures this project's nets against PyTorch's, in turns, in one run. `make bench` runs all of it.

python benchmarks/side_by_side.py --nets conv2 --rounds 20
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import click

from benchmarks.contenders import FLOAT64, LAYOUTS, OURS, PLAIN
from benchmarks.measure import cores, limit_threads, sgemm_peak
from benchmarks.nets import NAMES, Case, drawn_cases, named_case
from benchmarks.steps import COMPILED, StepRow, measure_step

_COLUMNS = {OURS: "ours", PLAIN: "plain", LAYOUTS[0]: "NCHW", LAYOUTS[1]: "ch.last", COMPILED: "compiled"}


def chosen_cases(names: tuple[str, ...], draws: int) -> list[Case]:
    """Returns the nets of these names, all named ones where there are none, and so many draws."""
    try:
        named = [named_case(name) for name in names or NAMES]
    except KeyError as error:
        raise click.UsageError(f"`--nets` must be of {', '.join(NAMES)} or draw-01 and on, but got {error}.") from None
    return named + (drawn_cases(draws) if draws else [])


def measure_steps(cases: list[Case], threads: int, rounds: int, compile_limit_s: float) -> tuple[list[StepRow], float]:
    """Measures each net's step, and prints its line. Returns the lines' figures and the sgemm peak in FLOP/s."""
    head = "".join(f"{name:>9}" for name in _COLUMNS.values())
    click.echo(f"\n{threads} thread{'s' * (threads > 1)}: ms a step, and PyTorch's best over ours")
    click.echo(f"{'net':<13}{head}    ratio (10–90 %)   GFLOP/s of peak")
    rows: list[StepRow] = []
    peak = 0.0
    with limit_threads(threads):
        for case in cases:
            peak = max(peak, sgemm_peak(tries=2 if rows else 5))
            limit_s = compile_limit_s if case.group == "named" else 0.0
            row = measure_step(case, threads=threads, rounds=rounds, compile_limit_s=limit_s)
            rows.append(row)
            times = "".join(f"{row.ms[name].middle:9.2f}" if name in row.ms else f"{'–':>9}" for name in _COLUMNS)
            spread = f"{row.ratio.middle:6.2f} ({row.ratio.low:.2f}–{row.ratio.high:.2f})"
            click.echo(f"{row.net:<13}{times}  {spread:<20}{row.flop_per_s / 1e9:6.1f} {row.flop_per_s / peak:7.0%}")
            if FLOAT64 in row.ms:
                over = row.others[FLOAT64]
                click.echo(
                    f"{'':<13}the report's layers in float64: {row.ms[FLOAT64].middle:.1f} ms, "
                    f"{over.middle:.1f} times as long ({over.low:.1f}–{over.high:.1f})"
                )
            if row.note:
                click.echo(f"{'':<13}{row.note}")
    click.echo(f"{'sgemm peak':<13}{peak / 1e9:.1f} GFLOP/s")
    return rows, peak


def thread_counts(given: tuple[str, ...]) -> list[int]:
    """Returns the counts that `--threads` means."""
    try:
        counts = [cores() if text == "all" else int(text) for text in given]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise click.UsageError(f"`--threads` must be 1 or more, or all, but got {', '.join(given)}.")
    return list(dict.fromkeys(counts))


@click.command()
@click.option("--nets", multiple=True, metavar="NAME", help=f"Measure these alone, of {', '.join(NAMES)}, draw-01 ….")
@click.option("--rounds", default=30, show_default=True, type=click.IntRange(1), help="Turns of each contender.")
@click.option("--threads", multiple=True, default=("1",), metavar="N|all", show_default=True, help="May be repeated.")
@click.option(
    "--draws", default=0, show_default=True, type=click.IntRange(0), help="Nets drawn from the default space."
)
@click.option(
    "--compile-limit", default=0.0, show_default=True, help="Seconds that torch.compile may take; 0: without."
)
def main(nets: tuple[str, ...], rounds: int, threads: tuple[str, ...], draws: int, compile_limit: float) -> None:
    """Measure training steps side by side."""
    cases = chosen_cases(nets, draws)
    for count in thread_counts(threads):
        measure_steps(cases, count, rounds, compile_limit)


if __name__ == "__main__":
    main()
