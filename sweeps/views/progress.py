"""A running study in the terminal: a bar, a line for each worker, and above them one for each trial that ended."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from sweeps.config.duration import clock
from sweeps.study.budget import Tally
from sweeps.study.forecast import duration_text
from sweeps.study.lineage import is_final, member_text
from sweeps.study.storage import origin_of
from sweeps.views.screen import Screen, cut, is_live

__all__ = ["RunningTrial", "StudyProgress", "clock", "figures", "running_lines", "trial_line"]

_BAR = 16  # characters
_LABEL = 16  # so much of a network's name is worth leaving something else out
_SHORT_LABEL = 7
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
        val_accuracy: after the last epoch that was validated.
        images_per_s: in the last epoch.
    """

    number: int
    label: str
    epochs: int
    done: int
    epoch_s: float | None
    left_s: float | None
    val_accuracy: float | None = None
    images_per_s: float | None = None


class StudyProgress:
    """Shows how a study comes along, on standard error.

    Args:
        name: the study's.
        quiet: True shows warnings only.
        echo: takes each line; by default it goes to standard error.
        bar: whether to draw one, and the workers' lines; by default where standard error is a terminal, and no CI's.
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
        self._wants_bar = not quiet and (is_live(sys.stderr) if bar is None else bar)
        self._screen: Screen | None = None
        self._begun: set[int] = set()
        self._slots: list[int | None] = []

    def note(self, line: str) -> None:
        """Shows a line."""
        if not self._quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Shows a line even when quiet."""
        with contextlib.suppress(OSError):  # a terminal that was closed ends no sweep
            if self._screen is None:
                self._echo(line)
            else:
                with self._screen.aside():
                    self._echo(line)

    def ended(self, trial: FrozenTrial, *, is_best: bool = False) -> None:
        """Shows that a trial ended, on a terminal in one line."""
        width = None if self._screen is None else self._screen.width
        self.note(trial_line(trial, is_best=is_best, width=width))

    def update(
        self,
        tally: Tally,
        best: FrozenTrial | None,
        *,
        share: float,
        left_s: float | None,
        running: Sequence[RunningTrial] = (),
    ) -> None:
        """Draws the bar and the workers' lines again; without one, shows a line for each trial that has begun.

        Args:
            tally: the trials by state.
            best: the best of them, if any is complete.
            share: the part of the budget that is used.
            left_s: how long it will take, if that is known.
            running: what the workers are at.
        """
        if not self._wants_bar:
            for trial in running:
                if trial.number not in self._begun:
                    self._begun.add(trial.number)
                    self.note(begun_line(trial))
            return
        if self._screen is None:
            self._screen = Screen()
        width, height = self._screen.width, self._screen.height
        lines = running_lines(self._in_slots(running), width)
        if len(lines) > height - 1:
            lines[max(0, height - 2) :] = [f"… and {len(lines) - max(0, height - 2)} more"]
        with contextlib.suppress(OSError):
            self._screen.draw([study_line(self._name, tally, best, share=share, left_s=left_s, width=width), *lines])

    def close(self) -> None:
        """Takes the bar and the workers' lines away."""
        if self._screen is not None:
            with contextlib.suppress(OSError):
                self._screen.close()
            self._screen = None

    def _in_slots(self, running: Sequence[RunningTrial]) -> list[RunningTrial | None]:
        """Returns the trials each in the place that it began in, so that a worker's line stays where it is."""
        known = {trial.number: trial for trial in running}
        self._slots = [number if number in known else None for number in self._slots]
        for number in sorted(known.keys() - set(self._slots)):
            if None in self._slots:
                self._slots[self._slots.index(None)] = number
            else:
                self._slots.append(number)
        while self._slots and self._slots[-1] is None:
            self._slots.pop()
        return [None if number is None else known[number] for number in self._slots]


def study_line(
    name: str, tally: Tally, best: FrozenTrial | None, *, share: float, left_s: float | None, width: int
) -> str:
    """Returns the study's own line: as much of it as there is room for, what matters most first."""
    percent = f"{int(100 * share):3d}%"
    full = round(_BAR * min(1.0, share))
    bar = f"|{'█' * full}{' ' * (_BAR - full)}|"
    left = [] if left_s is None else [f"{clock(left_s)} left"]
    number = "" if best is None else f"#{origin_of(best):03d}"
    long = [] if best is None else [f"best {number} {figures(best)}"]
    short = [] if best is None else [f"best {number} {_accuracy(best.user_attrs.get('val_accuracy'))}".rstrip()]
    counts = [f"{tally.ended} trial{'s' if tally.ended != 1 else ''} ({tally.pruned} pruned)"]
    counts += [f"{tally.failed} failed"] if tally.failed else []
    counts += [f"{tally.waiting} waiting"] if tally.waiting else []
    begin = f"{name} {percent}"
    forms = [
        f"{begin}{bar} {' · '.join([*left, *long, ', '.join(counts)])}",
        f"{begin}{bar} {' · '.join([*left, *short, counts[0]])}",
        f"{begin}{bar} {' · '.join([*left, *short])}",
        " · ".join([begin, *left, *short]),
        " · ".join([begin, *left]),
    ]
    return next((form for form in forms if len(form) <= width), cut(forms[-1], width))


def running_lines(trials: Iterable[RunningTrial | None], width: int) -> list[str]:
    """Returns a line for each worker, in columns, with as much as there is room for; None stands for an idle one."""
    listed = list(trials)
    known = [trial for trial in listed if trial is not None]
    longest = max((len(trial.label) for trial in known), default=0)
    for names, gap, least in (
        (("number", "epochs", "accuracy", "rate", "left"), "  ", _LABEL),
        (("number", "of", "accuracy", "left"), "  ", _LABEL),
        (("number", "of", "accuracy", "time"), " ", _SHORT_LABEL),
    ):
        columns = [[_cell(trial, name) for trial in known] for name in names]
        columns = [_aligned(column) for column in columns if any(column)]
        heads = [gap.join(cells) for cells in zip(*columns, strict=True)]
        taken = len(heads[0]) + len(gap) if heads else 0
        if taken + min(longest, least) <= width:
            break
    lines = iter([cut(f"{head}{gap}{trial.label}", width) for head, trial in zip(heads, known, strict=True)])
    return ["idle" if trial is None else next(lines) for trial in listed]


def _cell(trial: RunningTrial, name: str) -> str:
    if name == "number":
        return f"#{trial.number:03d}"
    if name == "accuracy":
        return _accuracy(trial.val_accuracy)
    if name == "rate":
        return "" if trial.images_per_s is None else f"{trial.images_per_s:,.0f} images/s"
    if name in ("left", "time"):
        text = "" if trial.left_s is None else clock(trial.left_s)
        return f"{text} left" if text and name == "left" else text
    return f"{trial.done}/{trial.epochs}{' epochs' if name == 'epochs' else ''}"


def _aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(len, cells))
    return [cell.rjust(width) for cell in cells]


def _accuracy(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def begun_line(trial: RunningTrial) -> str:
    """Returns a line on a trial that has begun: how long it will take, and its network."""
    parts = [f"#{trial.number:03d}"]
    if trial.epoch_s is not None:
        before = f", {trial.done} done before" if trial.done else ""
        parts.append(duration_text(trial.epochs - trial.done, trial.epoch_s) + before)
    return "  ".join([*parts, trial.label])


def trial_line(trial: FrozenTrial, *, is_best: bool = False, width: int | None = None) -> str:
    """Returns a line on a trial that ended: number, network, figures, effort; or why it has none.

    Args:
        trial: the trial.
        is_best: whether it is the best so far.
        width: so many characters are there for it: the network's name is shortened first. A failure is told in full.
    """
    attributes = trial.user_attrs
    number, label = f"#{origin_of(trial):03d}", attributes.get("label", "")
    if trial.state == TrialState.FAIL:
        again = "; it is tried again" if attributes.get("requeued") else ""
        return f"{number}  {label}  failed: {attributes.get('reason', 'its worker died')}{again}"
    epochs = attributes.get("epochs_run", 0)
    effort = f"{epochs:>3} epoch{'s' if epochs != 1 else ' '} {clock(attributes.get('seconds', 0.0)):>6}"
    head = f"{number}  {figures(trial):<{_FIGURES_WIDTH}} {effort}  "
    tail = f"  · {attributes.get('reason', 'pruned')}" if trial.state == TrialState.PRUNED else ""
    tail += f"  · {member_text(trial)}" if is_final(trial) else ""
    tail += "  ← best so far" if is_best else ""
    if width is None or len(head) + len(label) + len(tail) <= width:
        return f"{head}{label}{tail}"
    room = width - len(head) - len(tail)
    if room >= min(len(label), _SHORT_LABEL):
        return f"{head}{cut(label, room)}{tail}"
    head = head.rstrip()
    if len(head) > width:
        head = f"{number} {_accuracy(attributes.get('val_accuracy'))}".rstrip()
    return cut(f"{head}{tail}  {label}", width)


def figures(trial: FrozenTrial) -> str:
    """Returns a trial's results in words; an empty text if it has none."""
    attributes = trial.user_attrs
    if "val_loss" not in attributes:
        return f"{trial.value:.4f}" if trial.value is not None else ""
    name, loss = "val loss", attributes["val_loss"]
    if is_final(trial):
        name = "oof loss"  # out of fold: of the images that it left out
    elif "val_calibrated_loss" in attributes:  # by which it is ranked
        name, loss = "cal loss", attributes["val_calibrated_loss"]
    return f"{name} {loss:.4f}, {100 * attributes['val_accuracy']:.2f} %"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
