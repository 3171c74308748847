"""A running study in the terminal: a bar where there is one, and a line for each trial that ends."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.config.duration import clock
from sweeps.study.budget import Tally
from sweeps.study.forecast import duration_text
from sweeps.study.storage import origin_of

__all__ = ["RunningTrial", "StudyProgress", "clock", "trial_line"]

_FIGURES_WIDTH = len("val loss 0.0312, 99.05 %")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial that a worker is at.

    Attributes:
        number: the one it began under.
        label: its network.
        epochs: how many it shall have.
        done: how many it has.
        epoch_s: the seconds of one, as observed, else as estimated.
        left_s: how long until its end, unless it is pruned.
    """

    number: int
    label: str
    epochs: int
    done: int
    epoch_s: float | None
    left_s: float | None


class StudyProgress:
    """Shows how a study comes along, on standard error.

    Args:
        name: the study's.
        quiet: True shows warnings only.
        echo: takes each line; by default it goes to standard error.
        bar: whether to draw one; by default where standard error is a terminal.
    """

    def __init__(
        self,
        name: str,
        *,
        quiet: bool = False,
        echo: Callable[[str], object] | None = None,
        bar: bool | None = None,
    ) -> None:
        self._name = name
        self._quiet = quiet
        self._echo = echo or _to_stderr
        self._wants_bar = not quiet and (sys.stderr.isatty() if bar is None else bar)
        self._bar: Any = None
        self._begun: set[int] = set()

    def note(self, line: str) -> None:
        """Shows a line."""
        if not self._quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Shows a line even when quiet."""
        with contextlib.suppress(OSError):  # a terminal that was closed ends no sweep
            if self._bar is None:
                self._echo(line)
            else:
                with self._bar.external_write_mode(file=sys.stderr):
                    self._echo(line)

    def ended(self, trial: FrozenTrial, *, is_best: bool = False) -> None:
        """Shows that a trial ended."""
        self.note(trial_line(trial) + ("  ← best so far" if is_best else ""))

    def update(
        self,
        tally: Tally,
        best: FrozenTrial | None,
        *,
        share: float,
        left_s: float | None,
        running: Sequence[RunningTrial] = (),
    ) -> None:
        """Redraws the bar; without one, shows a line for each trial that has begun.

        Args:
            tally: the trials by state.
            best: the best of them, if any is complete.
            share: the part of the budget that is used.
            left_s: how long it will take, if that is known.
            running: what the workers are at.
        """
        for trial in running if not self._wants_bar else ():
            if trial.number not in self._begun:
                self._begun.add(trial.number)
                self.note(begun_line(trial))
        if not self._wants_bar:
            return
        if self._bar is None:
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no thread beside ours: the bar is redrawn often enough
            self._bar = tqdm(total=100, bar_format="{bar}", dynamic_ncols=True, leave=False)
        parts = [] if left_s is None else [f"{clock(left_s)} left"]
        if best is not None:
            parts.append(f"best #{origin_of(best):03d} {_figures(best)}")
        to_go = [f"#{trial.number:03d} {clock(trial.left_s)}" for trial in running if trial.left_s is not None]
        now = f"to go: {', '.join(to_go)}" if to_go else f"{tally.running} running"
        parts.append(f"{tally.ended} trials ({tally.pruned} pruned), {now}")
        # tqdm's own fields would put a comma before the text; what matters most comes first, if the window is narrow.
        self._bar.bar_format = f"{self._name} {{percentage:3.0f}}%|{{bar:16}}| {' · '.join(parts)}"
        self._bar.n = int(100 * share)
        self._bar.refresh()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def begun_line(trial: RunningTrial) -> str:
    """Returns a line on a trial that has begun: how long it will take, and its network."""
    parts = [f"#{trial.number:03d}"]
    if trial.epoch_s is not None:
        before = f", {trial.done} done before" if trial.done else ""
        parts.append(duration_text(trial.epochs - trial.done, trial.epoch_s) + before)
    return "  ".join([*parts, trial.label])


def trial_line(trial: FrozenTrial) -> str:
    """Returns a line on a trial that ended: number, network, figures, effort; or why it has none."""
    attributes = trial.user_attrs
    number, label = f"#{origin_of(trial):03d}", attributes.get("label", "")
    if trial.state == TrialState.FAIL:
        again = "; it is tried again" if attributes.get("requeued") else ""
        return f"{number}  {label}  failed: {attributes.get('reason', 'its worker died')}{again}"
    epochs = attributes.get("epochs_run", 0)
    effort = f"{epochs:>3} epoch{'s' if epochs != 1 else ' '} {clock(attributes.get('seconds', 0.0)):>6}"
    line = f"{number}  {_figures(trial):<{_FIGURES_WIDTH}} {effort}  {label}"
    return f"{line}  · {attributes.get('reason', 'pruned')}" if trial.state == TrialState.PRUNED else line


def _figures(trial: FrozenTrial) -> str:
    attributes = trial.user_attrs
    if "val_loss" not in attributes:
        return f"{trial.value:.4f}" if trial.value is not None else ""
    return f"val loss {attributes['val_loss']:.4f}, {100 * attributes['val_accuracy']:.2f} %"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
