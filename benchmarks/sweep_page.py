"""Writes races of two sweeps as docs/sweep_benchmark.md, with their curves as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.page import BY_HAND, environment_rows, table
from benchmarks.sweep_curve import steps
from benchmarks.sweep_result import WANTED, Outcome, Race, Results, middle_share, outcome
from benchmarks.sweep_sides import OURS, PEER
from sweeps.config.duration import clock

__all__ = ["PICTURE", "draw_picture", "page", "verdict"]

PICTURE = "sweep_benchmark.png"

_NAMES = {OURS: "this project", PEER: "Optuna + MLflow + PyTorch"}
# Okabe and Ito's blue and vermilion, which differ in lightness, too.
_COLOURS = {OURS: "#0072B2", PEER: "#D55E00"}
_INK = "#333333"

_INTRO = """\
# A whole sweep beside its peer's

The study `{study}` twice: by `sweeps run`, and by Optuna and MLflow with PyTorch nets (`benchmarks/peer_sweep.py`),
written as their documentation has it. Space, limits, baselines, sampler, pruner, seed, epochs, images and the number of
processes are the same, read from the study's file; {budget} of time each, one after the other on the same machine.

```
{command}
```

| | |
|---|---|
{environment}

A time counts from the start of a sweep's command: imports, data and the making of study and database are in it. What is
compared is what a user would have: the mean of the {top} best trials by validation loss that are complete by then, and
its loss on the validation images. The peer has a loss when it first has it; this project when it has it and gets none
that is worse again. So both are read to this project's disadvantage.

![curves]({picture})
"""

_METHOD = """\
## How the peer is made

One process a core, one thread each, on a shared journal; `study.optimize` in each, with a `TPESampler` of the study's
settings and a seed for each process. What is beyond the limits fails at once, which is as if it had been drawn again:
Optuna leaves failed trials out. The pruner is the study's, asked after each epoch but the last; baselines are enqueued
first and never pruned. A trial is a run of MLflow in SQLite, with its parameters, four metrics an epoch, and the best
epoch's weights as an artifact. The trials that run when the budget is used up go on to their ends, and do not count.

So that nobody has to wonder, it also has what a tutorial would not: channels_last, which is faster on nearly every net
of the space; pools before ReLUs; fused optimizers; images in memory as tensors, moved and scaled a batch at a time
without a DataLoader; processes that import and load while the database is made; and first weights as this project draws
them, which suit `mlp3` a little better than PyTorch's own.
"""


def page(results: Results, by_hand: str = "") -> str:
    """Returns the page; `by_hand` is what an earlier one had below its line."""
    known = results.environment
    more = {
        **results.versions,
        "commit": known.commit,
        "malloc": "keeps what is freed (`--keep-pages`)" if results.keep_pages else "",
    }
    intro = _INTRO.format(
        study=results.study,
        budget=clock(results.budget_s),
        command=known.command,
        environment=environment_rows(known, more, processes=f", {results.workers} processes a sweep"),
        top=results.top,
        picture=PICTURE,
    )
    short = results.study_s is not None and results.budget_s < results.study_s
    rough = (
        [f"A short run: the study itself has {clock(results.study_s or 0)}. Its figures are rough.\n"] if short else []
    )
    parts = [
        intro,
        *rough,
        f"**{verdict(results)}**\n",
        *_losses(results),
        *_trials(results),
        *_same(results),
        _METHOD,
        BY_HAND + "\n",
    ]
    return "\n".join(parts) + by_hand


def verdict(results: Results) -> str:
    """Returns in a sentence whether what was wanted is reached."""
    share = middle_share(results)
    wanted = f"wanted: at most {WANTED:.2f}"
    count = len(results.races)
    over = "" if count == 1 else f" (the median of {count} races)"
    if share is None:
        return f"This project's sweep does not come to the peer's final loss within the budget{over}; {wanted}."
    answer = "reached" if share <= WANTED else "not reached"
    return (
        f"This project's sweep has the peer's final loss after {share:.2f} of the time that the peer needs for it"
        f"{over}; {wanted}: {answer}."
    )


def _losses(results: Results) -> Iterator[str]:
    head = ["seed", "first", "peer's final loss", "peer has it after", "this project after", "ratio", "of the budget"]
    rows, late = [], []
    for race in results.races:
        found = outcome(race, results.budget_s)
        if found is None:
            rows.append([str(race.seed), race.first, "none", *["–"] * 4])
            continue
        rows.append([str(race.seed), race.first, f"{found.target:.4f}", clock(found.peer_s), *_ours(found, results)])
        late += _late(race, found, results.budget_s)
    yield table([*head, "its final loss"], rows, first="--:")
    yield from late


def _ours(found: Outcome, results: Results) -> list[str]:
    final = "none" if found.ours is None else f"{found.ours.ensemble_loss:.4f}"
    if found.ours_s is None or found.share is None:
        return ["not" if found.first_s is None else f"{clock(found.first_s)}, not kept", "–", "–", final]
    first = "" if found.first_s == found.ours_s or found.first_s is None else f" (first {clock(found.first_s)})"
    share = found.ours_s / results.budget_s
    return [f"{clock(found.ours_s)}{first}", f"{found.share:.2f}", f"{share:.2f}", final]


def _late(race: Race, found: Outcome, budget_s: float) -> Iterator[str]:
    if found.late.seconds > budget_s:
        ours = "does not have that within the budget"
        if found.late_s is not None:
            ours = f"has that after {clock(found.late_s)}"
        loss = f"{found.late.ensemble_loss:.4f}"
        yield (
            f"Seed {race.seed}: Optuna's `timeout` lets the peer's running trials end. The last did so at "
            f"{clock(found.late.seconds)}, for a loss of {loss}; this project {ours}.\n"
        )


def _trials(results: Results) -> Iterator[str]:
    yield "## What was tried\n\nTrials by the end of the budget, and the best of them.\n"
    head = ["seed", "sweep", "begun", "complete", "pruned", "best net's loss", "ensemble's loss", "its accuracy"]
    rows = []
    for race in results.races:
        found = outcome(race, results.budget_s)
        for side, sweep, point in (
            (OURS, race.ours, found and found.ours),
            (PEER, race.peer, found and found.peer),
        ):
            counts = [sweep.begun(results.budget_s)]
            counts += [sweep.count(state, results.budget_s) for state in ("COMPLETE", "PRUNED")]
            best = ["–"] * 3
            if point:
                best = [
                    f"{point.single_loss:.4f}",
                    f"{point.ensemble_loss:.4f}",
                    f"{100 * point.ensemble_accuracy:.2f} %",
                ]
            rows.append([str(race.seed), _NAMES[side], *map(str, counts), *best])
    yield table(head, rows, first="--:")


def _same(results: Results) -> Iterator[str]:
    """Compares the trials that are the same net on both sides, the baselines, as far as both have them."""
    rows = []
    for race in results.races:
        peers = {trial.preset: trial for trial in race.peer.trials if trial.preset}
        for own in race.ours.trials:
            peer = peers.get(own.preset)
            if peer is None or own.val_loss is None or peer.val_loss is None:
                continue
            times = [f"{(trial.ended_s or 0) - trial.begun_s:.1f}" for trial in (own, peer)]
            rows.append(
                [str(race.seed), f"`{own.preset}`: {own.label}", f"{own.val_loss:.4f}", f"{peer.val_loss:.4f}", *times]
            )
    if rows:
        yield (
            "## The same nets on both sides\n\nThe baselines: what each side makes of one net, with other random "
            "numbers, and how long it takes beside whatever the other process does.\n"
        )
        yield table(["seed", "net", "loss here", "peer's loss", "seconds here", "peer's seconds"], rows, first="--:")


def draw_picture(results: Results, path: Path) -> None:
    """Draws both sides' losses over time, a panel a race."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    count = len(results.races)
    columns = min(count, 3)
    lines = -(-count // columns)
    style = {"font.size": 11, "axes.edgecolor": _INK, "text.color": _INK, "axes.labelcolor": _INK}
    with plt.rc_context(style):
        size = (8 if columns == 1 else 4.6 * columns, 4.6 * lines)
        figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
        panels = list(grid.flat)
        for axes, race in zip(panels, results.races, strict=False):
            _draw_race(axes, race, results)
        for axes in panels[count:]:
            axes.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
        figure.suptitle("Validation loss of what a sweep has so far (lower is better)", fontsize=12.5)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


def _draw_race(axes: Any, race: Race, results: Results) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

    minute = 60.0 if results.budget_s > 180 else 1.0
    for side, sweep in ((PEER, race.peer), (OURS, race.ours)):
        for what, width, dashes, value in (
            (f"mean of the best {results.top}", 2.4, "-", lambda point: point.ensemble_loss),
            ("best net", 1.3, ":", lambda point: point.single_loss),
        ):
            times, losses = steps(sweep.curve, results.budget_s, value)
            label = f"{_NAMES[side]}: {what}"
            axes.step(
                [time / minute for time in times], losses, where="post", color=_COLOURS[side], linewidth=width,
                linestyle=dashes, label=label,
            )  # fmt: skip
        times, losses = steps(sweep.curve, results.budget_s, lambda point: point.ensemble_loss)
        mark = {OURS: "o", PEER: "D"}[side]
        axes.plot([time / minute for time in times[:-1]], losses[:-1], mark, color=_COLOURS[side], markersize=5)
    found = outcome(race, results.budget_s)
    if found is not None:
        axes.axhline(found.target, color=_COLOURS[PEER], linewidth=1, linestyle="--", zorder=1)
        if found.ours_s is not None and found.share is not None:
            axes.axvline(found.ours_s / minute, color=_COLOURS[OURS], linewidth=1, linestyle="--", zorder=1)
            late = found.ours_s > results.budget_s / 2  # the text stands where the curves have been, above them
            axes.annotate(
                f"peer's final loss,\nin {found.share:.2f} of its time", (found.ours_s / minute, 0.95),
                xycoords=("data", "axes fraction"), xytext=(-6 if late else 6, 0), textcoords="offset points",
                va="top", ha="right" if late else "left", fontsize=9.5,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, results.budget_s / minute)
    axes.set_xlabel("minutes since the command's start" if minute == 60.0 else "seconds since the command's start")
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"seed {race.seed}, {race.first} first", fontsize=11, loc="left")
