"""The trials of a study as a report lists them, and what they took together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.config import StudyConfig
from sweeps.ensemble.difference import mean_interval
from sweeps.errors import StudyError
from sweeps.study.budget import Tally
from sweeps.study.columns import differs
from sweeps.study.lineage import REPEATS, total_epochs
from sweeps.study.lookup import values_of
from sweeps.study.space import Space
from sweeps.study.storage import origin_of
from sweeps.study.validation import OBJECTIVE, has_objective
from sweeps.views.pictures.facts import STATES
from sweeps.views.report.facts import Effort
from sweeps.views.report.figures import SeedNoise, SeedRow
from sweeps.views.report.listed import TrialFacts
from sweeps.views.trials import role_of

__all__ = ["read_trials", "seed_noise", "sum_up", "untried_of", "varied"]

_ORDER = ("complete", "pruned", "diverged", "failed", "running", "waiting")
_DIVERGED = "diverged: "  # begins the reason of a trial whose loss stopped being a number
_NOT_CHOSEN = ("architecture", "epochs")  # of what a table of choices holds


def read_trials(attempts: Sequence[FrozenTrial], config: StudyConfig) -> list[TrialFacts]:
    """Returns each trial once, the best first.

    Args:
        attempts: all that the study's storage holds.
        config: the study, as it was last run.
    """
    space = Space(config)
    begun: dict[int, int] = {}
    for attempt in attempts:
        if not attempt.user_attrs.get("withdrawn"):
            begun[origin_of(attempt)] = begun.get(origin_of(attempt), 0) + 1
    trials = [
        _read(attempt, begun.get(origin_of(attempt), 1), config, space)
        for attempt in attempts
        if not attempt.user_attrs.get("requeued")
    ]
    sign = -1.0 if config.direction == "maximize" else 1.0

    def rank(trial: TrialFacts) -> tuple[int, float, int]:
        value = trial.val_accuracy if config.metric == "val_accuracy" else trial.val_loss
        if has_objective(config):
            value = trial.objective
        return _ORDER.index(trial.state), math.inf if value is None else sign * value, trial.number

    return sorted(trials, key=rank)


def untried_of(
    attempts: Sequence[FrozenTrial], trials: Sequence[TrialFacts], presets: Sequence[str]
) -> tuple[str, ...]:
    """Returns the presets whose trials wait and have no epoch yet.

    Args:
        attempts: all that the study's storage holds.
        trials: what `read_trials` gave.
        presets: those that were to be tried first.
    """
    idle = {trial.number for trial in trials if trial.state == "waiting" and not trial.epochs}
    untried = {attempt.user_attrs.get("preset") for attempt in attempts if origin_of(attempt) in idle}
    return tuple(preset for preset in presets if preset in untried)


def varied(trials: Sequence[TrialFacts]) -> tuple[str, ...]:
    """Returns the names of the choices that differ between trials, in the order of the space."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    return tuple(
        name for name in names if differs(name, [trial.values[name] for trial in trials if name in trial.values])
    )


def sum_up(
    trials: Sequence[TrialFacts], attempts: Sequence[FrozenTrial], config: StudyConfig, elapsed_s: object
) -> Effort:
    """Returns what a study's trials took, and what pruning spared them.

    Args:
        trials: what `read_trials` gave.
        attempts: all that the study's storage holds.
        config: the study.
        elapsed_s: what its clock says.
    """
    counts = {state: sum(trial.state == state for trial in trials) for state in _ORDER}
    pruned = [trial for trial in trials if trial.state == "pruned"]
    saved = [(max(0, trial.planned - trial.epochs), trial.epoch_s or 0.0) for trial in pruned]
    begun, tally = sum(not attempt.user_attrs.get("withdrawn") for attempt in attempts), Tally.of(attempts)
    return Effort(
        **counts,
        attempts=begun - counts["waiting"],
        resumed=sum(trial.attempts > 1 for trial in trials),
        epochs=sum(trial.epochs for trial in trials),
        seconds=sum(trial.seconds or 0.0 for trial in trials),
        elapsed_s=_number(elapsed_s),
        budget_trials=config.budget.trials,
        budget_s=config.budget.time_s,
        counted=tally.finished,
        members=tally.members_complete,
        final_s=config.final_s,
        epochs_each=config.budget.epochs,
        epochs_saved=sum(epochs for epochs, _ in saved),
        seconds_saved=sum(epochs * epoch_s for epochs, epoch_s in saved),
        failures=tuple((trial.number, trial.reason) for trial in trials if trial.state == "failed"),
    )


def seed_noise(attempts: Sequence[FrozenTrial]) -> SeedNoise:
    """Returns what the repeats of trials with other seeds came to; no rows where nothing was repeated."""
    current = {origin_of(each): each for each in attempts if not each.user_attrs.get("requeued")}
    repeats: dict[int, list[float]] = {}
    for trial in current.values():
        number, accuracy = _repeated(trial), _number(trial.user_attrs.get("val_accuracy"))
        if number in current and accuracy is not None and trial.state == TrialState.COMPLETE:
            repeats.setdefault(number, []).append(accuracy)
    rows = [
        SeedRow(
            number=number,
            label=str(current[number].user_attrs.get("label", "")),
            first=_number(current[number].user_attrs.get("val_accuracy")),
            accuracies=tuple(accuracies),
            mean=mean_interval(accuracies),
            deviation=math.sqrt(_squares(accuracies) / (len(accuracies) - 1)) if len(accuracies) > 1 else None,
        )
        for number, accuracies in repeats.items()
    ]
    rows.sort(key=lambda row: -sum(row.accuracies) / len(row.accuracies))
    free = sum(len(row.accuracies) - 1 for row in rows)
    pooled = math.sqrt(sum(_squares(row.accuracies) for row in rows) / free) if free else None
    return SeedNoise(rows=tuple(rows), deviation=pooled)


def _squares(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _read(trial: FrozenTrial, attempts: int, config: StudyConfig, space: Space) -> TrialFacts:
    known = trial.user_attrs
    state, reason = STATES[trial.state], str(known.get("reason", ""))
    if state == "pruned" and reason.startswith(_DIVERGED):
        state = "diverged"
    if state == "failed" and not reason:
        reason = "its worker died"
    if state in ("running", "waiting"):
        reason = ""  # an attempt's before it
    epochs = int(known.get("epochs_run", max(trial.intermediate_values, default=0)))
    seconds, epoch_s = _number(known.get("seconds")), _number(known.get("epoch_s"))
    planned = total_epochs(trial, config.budget.epochs)
    try:
        values = space.plain(values_of(trial, space), planned)
    except (StudyError, KeyError):  # it has not drawn them, or is of a checkout that knows other names
        values = {}
    val_loss, val_accuracy = _number(known.get("val_loss")), _number(known.get("val_accuracy"))
    if trial.state == TrialState.COMPLETE:  # what it was judged by
        val_loss = trial.value if val_loss is None and config.metric == "val_loss" else val_loss
        val_accuracy = trial.value if val_accuracy is None and config.metric == "val_accuracy" else val_accuracy
    return TrialFacts(
        number=origin_of(trial),
        state=state,
        label=str(known.get("label", "")),
        val_loss=val_loss,
        val_accuracy=val_accuracy if val_accuracy is not None and 0 <= val_accuracy <= 1 else None,
        epochs=epochs,
        planned=planned,
        seconds=seconds,
        epoch_s=epoch_s if epoch_s is not None or not seconds or not epochs else seconds / epochs,
        params=known.get("params"),
        macs=known.get("macs"),
        role=role_of(trial),
        reason=reason,
        attempts=attempts,
        values={name: value for name, value in values.items() if name not in _NOT_CHOSEN},
        objective=_number(known.get(OBJECTIVE)),
    )


def _repeated(trial: FrozenTrial) -> int | None:
    known: Any = trial.user_attrs.get(REPEATS)
    number = known.get("trial") if isinstance(known, dict) else None
    return number if type(number) is int else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
