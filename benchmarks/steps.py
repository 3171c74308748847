"""A training step of one net, side by side."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from benchmarks.contenders import (
    FLOAT64,
    LAYOUTS,
    OURS,
    PLAIN,
    Step,
    compiled,
    our_step,
    report_step,
    torch_step,
)
from benchmarks.measure import Spread, alternate, ratio, spread
from benchmarks.nets import Case, step_flop
from mnistnn.network import Network

__all__ = ["COMPILED", "StepRow", "measure_step"]

COMPILED = "PyTorch compiled"
_TRIAL_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """What was measured of one net.

    Attributes:
        net: its name.
        group: "named" or "draw".
        threads: how many each contender could use.
        batch_size: images a step.
        flop: of a step's matrix products.
        ms: milliseconds a step, by contender.
        best: PyTorch's fastest variant, by its median.
        ratio: that variant's time over this project's, round by round.
        others: the same for what is not PyTorch: the plain layers, and the report's.
        note: what could not be measured, and why.
    """

    net: str
    group: str
    threads: int
    batch_size: int
    flop: float
    ms: dict[str, Spread]
    best: str
    ratio: Spread
    others: dict[str, Spread] = field(default_factory=dict)
    note: str = ""

    @property
    def flop_per_s(self) -> float:
        """What this project achieves."""
        return self.flop / (self.ms[OURS].middle / 1e3)


def measure_step(case: Case, *, threads: int, rounds: int, plain: bool = True, compile_limit_s: float = 0.0) -> StepRow:
    """Measures a net.

    Args:
        case: the net.
        threads: what the threads are limited to already; only noted.
        rounds: how many turns each contender has.
        plain: whether to measure the plain layers too.
        compile_limit_s: how long `torch.compile` may take; 0 leaves it out.
    """
    steps = {OURS: our_step(case)}
    if plain:
        steps[PLAIN] = our_step(case, fused=False)
    steps |= {layout: torch_step(case, layout) for layout in LAYOUTS}
    if case.name == "report":
        steps[FLOAT64] = report_step(case)
    note = ""
    if compile_limit_s > 0:
        trial = alternate({layout: steps[layout] for layout in LAYOUTS}, _TRIAL_ROUNDS)
        better = min(LAYOUTS, key=lambda layout: float(np.median(trial[layout])))
        try:
            steps[COMPILED] = _compiled_step(case, better, compile_limit_s)
        except Exception as error:  # whatever it is: a compiler that is missing, or a net it cannot do
            note = f"torch.compile: {' '.join(str(error).split()) or type(error).__name__}"[:160]
    seconds = alternate(steps, rounds)
    rivals = [name for name in steps if name in (*LAYOUTS, COMPILED)]
    best = min(rivals, key=lambda name: float(np.median(seconds[name])))
    return StepRow(
        net=case.name,
        group=case.group,
        threads=threads,
        batch_size=case.batch_size,
        flop=step_flop(Network(case.network, batch_size=1, initialise=False), case.batch_size),
        ms={name: spread(values * 1e3) for name, values in seconds.items()},
        best=best,
        ratio=ratio(seconds[best], seconds[OURS]),
        others={name: ratio(seconds[name], seconds[OURS]) for name in (PLAIN, FLOAT64) if name in seconds},
        note=note,
    )


def _compiled_step(case: Case, layout: str, limit_s: float) -> Step:
    """Returns a compiled step that has run already: compiling happens at the first."""
    with _time_limit(limit_s):
        step = torch_step(case, layout, wrap=compiled)
        for number in range(3):
            step(number)
    return step


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the main thread when the time is over; without such signals there is no limit."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"not ready after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
