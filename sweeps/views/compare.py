"""Two trials of a study side by side, and whether the difference in accuracy is more than chance."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from mnistnn.errors import CheckpointError
from sweeps.ensemble.difference import Paired, paired
from sweeps.ensemble.members import Member
from sweeps.ensemble.predictions import load_predictions, load_val_probs
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.enqueue import text_of
from sweeps.study.lineage import fold_of, is_final, total_epochs
from sweeps.study.lookup import config_of, find_trial, values_of
from sweeps.study.space import Space
from sweeps.study.storage import origin_of
from sweeps.views.curves import Curve, curve_of, sparkline
from sweeps.views.trials import source_of

__all__ = ["Comparison", "Side", "compare"]

_WIDTH = 80
_VALUE = 30  # the widest value that stands beside another one
_MOST_EPOCHS = 15  # of a table of curves; of more, some are left out
_LINE = 25  # the longest line of bars
_TITLES = {"val_loss": "val loss", "val_accuracy": "val accuracy", "val_calibrated_loss": "calibrated"}
# What trials are shown by, in this order: the user attribute, its title, its layout.
_FIGURES = (
    ("val_loss", "val loss", "{:.4f}"),
    ("val_accuracy", "val accuracy, %", "{:.2f}"),
    ("val_calibrated_loss", "calibrated loss", "{:.4f}"),
    ("best_epoch", "best epoch", "{}"),
    ("epochs_run", "epochs", "{}"),
    ("seconds", "seconds", "{:.1f}"),
    ("epoch_s", "s an epoch", "{:.2f}"),
    ("params", "params", "{:,}"),
    ("macs", "MACs", "{:,}"),
    ("peak_mb", "peak MB", "{:.0f}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two trials.

    Attributes:
        trial: its number.
        state: COMPLETE, PRUNED, FAIL, RUNNING or WAITING.
        reason: why it was pruned or failed.
        network: its network in a few words.
        source: what it comes from, if it was not the sampler's.
        figures: its results, as far as it has them.
        values: its parameters, by the names that `trials` shows.
        curves: `val_loss` and `val_accuracy` by epoch.
    """

    trial: int
    state: str
    reason: str
    network: str
    source: str
    figures: dict[str, float]
    values: dict[str, Any]
    curves: dict[str, Curve]

    @property
    def name(self) -> str:
        """The trial's name."""
        return f"#{self.trial:03d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two trials beside each other.

    Attributes:
        study: the study's name.
        first: the one.
        second: the other.
        images: how they did on the same validation images; None where one has no predictions.
        why_not: then why.
        picked_from: how many trials the two could be picked from as the best.
        is_calibrated: whether the losses on these images are those after a temperature of each, as the study's metric
            is.
        are_members: whether both are members of a final stage that left out the same images.
    """

    study: str
    first: Side
    second: Side
    images: Paired | None
    why_not: str
    picked_from: int
    is_calibrated: bool = False
    are_members: bool = False

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.first, self.second

    @property
    def differing(self) -> dict[str, tuple[Any, Any]]:
        """The parameters of which the trials have other values; None where one has no use for it."""
        ours, theirs = self.first.values, self.second.values
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        return {name: (ours.get(name), theirs.get(name)) for name in names}

    @property
    def same(self) -> dict[str, Any]:
        """The parameters of which they have the same."""
        return {name: value for name, value in self.first.values.items() if self.second.values.get(name, self) == value}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self) | {"differing": self.differing, "same": self.same, "verdict": self.verdict()}

    def __str__(self) -> str:
        rows = [(f"study {self.study}", *(side.name for side in self.sides))]
        rows.append(("state", *(side.state for side in self.sides)))
        for title, each in (("", "reason"), ("from", "source"), ("network", "network")):
            if any(getattr(side, each) for side in self.sides):
                rows.append((title, *(str(getattr(side, each)) for side in self.sides)))
        for name, title, layout in _FIGURES:
            if any(name in side.figures for side in self.sides):
                factor = 100 if title.endswith("%") else 1
                cells = (factor * side.figures[name] if name in side.figures else None for side in self.sides)
                rows.append((title, *("" if value is None else layout.format(value) for value in cells)))
        differing = [
            (
                name,
                *(text_of(value) if name in side.values else "-" for side, value in zip(self.sides, pair, strict=True)),
            )
            for name, pair in self.differing.items()
            if name != "architecture"  # the network, above
        ]
        rows += [("", "", ""), *differing] if differing else []
        lines = list(_table(rows))
        if same := {name: value for name, value in self.same.items() if name != "architecture"}:
            listed = ", ".join(f"{name} {text_of(value)}" for name, value in same.items())
            lines.append(textwrap.shorten(f"the same ({len(same)}): {listed}", _WIDTH, placeholder=" …"))
        lines += ["", *self._curves()]
        return "\n".join([*lines, "", *(textwrap.fill(sentence, _WIDTH) for sentence in self.verdict())])

    def _curves(self) -> Iterator[str]:
        """Yields the curves, as a table of some epochs and as lines of bars of all."""
        known = {name: [side.curves.get(name, {}) for side in self.sides] for name in _TITLES}
        shown = {name: curves for name, curves in known.items() if any(curves)}
        epochs = sorted({epoch for curves in shown.values() for curve in curves for epoch in curve})
        if not epochs:
            yield "each was validated once, at its end" if self.are_members else "neither has a whole epoch"
            return
        yield f"{'':>5}" + "".join(f"   {_TITLES[name]:<19}" for name in shown).rstrip()
        yield "epoch" + "".join(f"   {side.name:>8}" for _ in shown for side in self.sides)
        for epoch in _some(epochs):
            cells = (curve.get(epoch) for curves in shown.values() for curve in curves)
            yield f"{epoch:>5}" + "".join(f"   {'' if each is None else f'{each:.4f}':>8}" for each in cells).rstrip()
        for name, curves in shown.items():
            values = [value for curve in curves for value in curve.values() if math.isfinite(value)]
            if len(epochs) < 3 or not values:
                continue
            low, high = min(values), max(values)
            lines = (sparkline(curve, epochs, low, high, _LINE) for curve in curves)
            drawn = "  ".join(
                f"{side.name} {line:<{min(_LINE, len(epochs))}}" for side, line in zip(self.sides, lines, strict=True)
            )
            yield f"{_TITLES[name]:<12}  {drawn.rstrip()}"

    def verdict(self) -> list[str]:
        """Returns whether the difference is more than chance, in plain sentences."""
        if self.images is None:
            return [f"Whether they differ by more than chance cannot be said: {self.why_not}."]
        found, (ours, theirs) = self.images, (side.name for side in self.sides)
        gain, loss = found.accuracy, found.loss
        kind = "Loss after a temperature of each" if self.is_calibrated else "Loss"
        which = "images that both left out" if self.are_members else "validation images"
        counts = (
            f"Of {found.images:,} {which} {ours} alone is right on {found.only_first:,}, and {theirs} alone "
            f"on {found.only_second:,}: accuracy {100 * gain.estimate:+.2f} points, 95 % interval "
            f"[{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]; McNemar's exact test, p = {found.p_value:.2g}. {kind} "
            f"{-loss.estimate:+.4f} [{-loss.high:+.4f}, {-loss.low:+.4f}]."
        )
        if found.p_value < 0.05:
            better = ours if found.only_first > found.only_second else theirs
            says = f"On images like these {better} is more accurate than the other by more than chance would explain."
        else:
            says = (
                "In accuracy that is no more than chance would explain: these images do not tell "
                f"{ours} and {theirs} apart."
            )
        if loss.low > 0 or loss.high < 0:
            says += f" In loss {ours if loss.low > 0 else theirs} is ahead by more than that."
        caution = "That is about these two nets, of one seed each; " + (
            "`repeat` says whether their values or their seeds make the difference."
            if self.differing
            else "they have the same values, so their seeds alone make the difference."
        )
        if self.picked_from > 2:
            caution += (
                f" If they were picked as the best of {self.picked_from} by the same images, both look better here "
                "than they are, and p is too low: with many pairs to choose from, some differ by chance."
            )
        return [counts, says, caution]


def compare(study: optuna.Study, paths: StudyPaths, first: int, second: int) -> Comparison:
    """Compares two trials, by what they left; nothing is trained or predicted again.

    Args:
        study: the study.
        paths: its paths.
        first: the number of the one.
        second: the number of the other.

    Raises:
        StudyError: there is no such trial, or it is the same one twice.
    """
    config = config_of(study)
    if first == second:
        raise StudyError(f"trials to compare must be two, but got {first} twice; name another one.")
    trials = [find_trial(study, number) for number in (first, second)]
    space = Space(config)
    sides = [_side(trial, paths, space, config.metric) for trial in trials]
    is_calibrated = config.metric == "val_calibrated_loss"
    images, why_not = _on_images(trials, paths, is_calibrated)
    current = (trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued"))
    return Comparison(
        study=config.name,
        first=sides[0],
        second=sides[1],
        images=images,
        why_not=why_not,
        picked_from=sum(trial.state == TrialState.COMPLETE and not is_final(trial) for trial in current),
        is_calibrated=is_calibrated,
        are_members=images is not None and fold_of(trials[0]) is not None,
    )


def _side(trial: FrozenTrial, paths: StudyPaths, space: Space, metric: str) -> Side:
    attributes = trial.user_attrs
    try:
        values = space.plain(values_of(trial, space), total_epochs(trial, space.config.budget.epochs))
    except StudyError:  # it waits, and has not drawn them
        values = {}
    return Side(
        trial=origin_of(trial),
        state=trial.state.name,
        reason=str(attributes.get("reason", "")),
        network=str(attributes.get("label", values.get("architecture", ""))),
        source=source_of(trial),
        figures={name: attributes[name] for name, _, _ in _FIGURES if name in attributes},
        values=values,
        curves=curve_of(trial, paths.trial(origin_of(trial)), metric),
    )


def _on_images(trials: Sequence[FrozenTrial], paths: StudyPaths, is_calibrated: bool) -> tuple[Paired | None, str]:
    """Compares the saved predictions; where one trial has none, says why."""
    for trial in trials:
        if trial.state != TrialState.COMPLETE:
            return None, (
                f"#{origin_of(trial):03d} is {trial.state.name}, and only complete trials have predictions; the curves "
                "are all there is"
            )
    if fold_of(trials[0]) != fold_of(trials[1]):
        who = " and ".join(f"#{origin_of(trial):03d}" for trial in trials)
        return None, (
            f"{who} predicted other images each, those that they were not trained on, so none is there to compare them "
            "by"
        )
    first, second = (
        Member(
            number=origin_of(trial),
            label=str(trial.user_attrs.get("label", "")),
            weights_sha256=str(trial.user_attrs.get("weights_sha256", "")),
            val_loss=float(trial.user_attrs.get("val_loss", math.nan)),
        )
        for trial in trials
    )
    try:
        probs, labels = load_predictions(first, paths)
        answers = [probs, load_val_probs(second, paths, labels)]
        if is_calibrated:
            answers = [tempered(each, fit_temperature(labels, each)) for each in answers]
        return paired(labels, *answers), ""
    except CheckpointError as error:
        return None, str(error).rstrip(".")


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yields rows in columns; a value that is too long is cut."""
    cut = [tuple(textwrap.shorten(cell, _VALUE, placeholder=" …") for cell in row) for row in rows]
    widths = [max(len(row[index]) for row in cut) for index in range(3)]
    for row in cut:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _some(epochs: Sequence[int]) -> list[int]:
    """Returns epochs, of many some that are evenly spread, the first and the last included."""
    if len(epochs) <= _MOST_EPOCHS:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(index * last / (_MOST_EPOCHS - 1))] for index in range(_MOST_EPOCHS)]
