"""Trials of one study in another: which of them fit, and what they bring along."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from mnistnn.files import atomic_write, link_or_copy
from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.study.augmented import same_choices
from sweeps.study.grid import grid_points
from sweeps.study.labels import bare_names
from sweeps.study.lineage import ARM, BORN_IN, EXTENDS, FINAL, IMPORTED, REPEATS, seed_of, seed_record
from sweeps.study.lookup import values_of
from sweeps.study.sampler import distribution
from sweeps.study.space import Space, Values
from sweeps.study.storage import origin_of
from sweeps.tracking.cursor import CURSOR
from sweeps.tracking.events import EVENTS, Event, parse

__all__ = ["Transfer", "Unfit", "bring_files"]

# What belongs to an attempt, or to a number in the other study.
_LEFT_BEHIND = ("requeued", "origin", "failures", "losses", "progress", "point", BORN_IN)
_STATES = {TrialState.FAIL: "failed", TrialState.RUNNING: "still running", TrialState.WAITING: "waiting"}
# Of a trial's folder: what is written anew, and what is only there while it runs.
_NOT_BROUGHT = (EVENTS, CURSOR, "lock")


class Unfit(Exception):
    """Why a trial has no place in the other study, in a few words that many trials may share."""


class Transfer:
    """Takes the trials of a study into another one.

    Args:
        source: where they are from.
        target: where they go.
    """

    def __init__(self, source: StudyConfig, target: StudyConfig) -> None:
        self._source, self._target = source, target
        self._old, self._new = Space(source), Space(target)
        self._bare = bare_names(self._new.domains)
        self._points: dict[frozenset[tuple[str, Any]], int] = {}
        if target.sampler.type == "grid":
            self._points = {frozenset(point.items()): number for number, point in enumerate(grid_points(self._new))}
        ablation = target.ablation()
        self._arms = {} if ablation is None else {arm.name: arm.overrides for arm in ablation.arms}
        self.numbers: dict[int, int] = {}  # theirs → ours

    def fit(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns the trial with its values as parameters of the target.

        Raises:
            Unfit: it has none there.
        """
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            raise Unfit(_STATES[trial.state])
        self._check_studies()
        try:
            values = values_of(trial, self._old)
        except StudyError:
            raise Unfit("without all parameters") from None
        params, overrides = self._split(values, trial)
        if not _is_baseline(trial) and (reason := self._new.impossible(values)) is not None:
            raise Unfit(f"beyond limits.{reason.partition(':')[0]}")
        made = create_trial(
            state=trial.state,
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            params=params,
            distributions={name: distribution(self._new.domains[name]) for name in params},
            user_attrs=self._attributes(trial, params, overrides),
            intermediate_values=trial.intermediate_values,
        )
        made.datetime_start, made.datetime_complete = trial.datetime_start, trial.datetime_complete
        return made

    def _check_studies(self) -> None:
        """Sees that trials of both studies can be compared: same validation images, same epochs, same figure."""
        for what, theirs, ours in (
            ("seed", self._source.seed, self._target.seed),
            ("metric", self._source.metric, self._target.metric),
            ("validation_shift", self._source.validation_shift, self._target.validation_shift),
            ("budget.epochs", self._source.budget.epochs, self._target.budget.epochs),
        ):
            if theirs != ours:
                raise Unfit(f"of another {what} ({theirs})")

    def _split(self, values: Values, trial: FrozenTrial) -> tuple[Values, Values]:
        """Returns the values that the target searches, and those that lie beside its space.

        What lay beside the source's ranges may lie beside the target's, and a baseline lies where it lies. All else
        must be inside.
        """
        if (arm := trial.user_attrs.get(ARM)) is not None:
            own = self._arms.get(arm["name"])
            if own is None or self._new.values({}, own) != values:
                raise Unfit("of an arm that is not so in it")
            return {}, own
        placed, params, overrides = self._new.place(values)
        if _is_baseline(trial) and (params, overrides) == self._new.preset_values(trial.user_attrs["preset"]):
            return params, overrides
        for name in overrides:
            if name not in trial.user_attrs.get("overrides", {}):
                raise Unfit(f"with {self._bare.get(name, name)} outside the new ranges")
        if not same_choices(placed, values):
            raise Unfit("of another kind of network")
        return params, overrides

    def _attributes(self, trial: FrozenTrial, params: Values, overrides: Values) -> dict[str, Any]:
        known = {name: value for name, value in trial.user_attrs.items() if name not in _LEFT_BEHIND}
        if IMPORTED not in known:
            born_in = trial.user_attrs.get(BORN_IN, self._source.name)
            seed = seed_record(seed_of(trial, self._source.seed))
            known[IMPORTED] = {"study": born_in, "trial": origin_of(trial)} | seed
        if "overrides" in known or overrides:
            known["overrides"] = overrides
        for name in (EXTENDS, REPEATS):
            if name in known:
                known[name] = known[name] | {"trial": self.numbers.get(known[name]["trial"])}
        if FINAL in known:
            known[FINAL] = known[FINAL] | {"of": self.numbers.get(known[FINAL]["of"])}
        if (point := self._points.get(frozenset(params.items()))) is not None and not overrides:
            known["point"] = point
        return known

    def add(self, study: optuna.Study, made: FrozenTrial, origin: int) -> int:
        """Adds what `fit` returned to the target, and returns the number that it has there."""
        trial_id = study._storage.create_new_trial(study._study_id, template_trial=made)
        number = study._storage.get_trial(trial_id).number
        self.numbers[origin] = number
        return number


def _is_baseline(trial: FrozenTrial) -> bool:
    """Says whether a trial is a preset, which is tried wherever it lies and whatever it costs."""
    return trial.user_attrs.get("role") == "baseline"


def bring_files(
    source: Path,
    target: Path,
    *,
    origin: int,
    number: int,
    config: StudyConfig,
    born_in: str,
    extends: int | None = None,
    repeats: int | None = None,
    final_of: int | None = None,
) -> None:
    """Gives a trial that was added to a study what it left in the other study's folder, weights included.

    Files are shared where the disk allows it: none of them is ever written into. Its events become those of a run of
    its own, which goes to the study's own experiment.

    Args:
        source: the trial's folder in the other study.
        target: its folder here.
        origin: its number there.
        number: its number here.
        config: the study.
        born_in: the other study's name.
        extends: the number here of the trial that it went on with, if it did and that one is here too.
        repeats: the number here of the trial that it repeats, likewise.
        final_of: the number here of the trial whose architecture it has, as a member of the final stage, likewise.

    Raises:
        OutputError: the disk cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()) if source.is_dir() else []:
        name = path.name
        if name in _NOT_BROUGHT or name.startswith((".", "checkpoint.")) or path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(FileNotFoundError):  # `clean` was faster
            link_or_copy(path, target / name)
    tags = {
        "study": config.name,
        "config_hash": config.hash,
        "trial": str(number),
        "imported": f"{born_in} #{origin:03d}",
        "extends": None if extends is None else str(extends),
        "repeats": None if repeats is None else str(repeats),
        "final_of": None if final_of is None else str(final_of),
    }
    _bring_events(source / EVENTS, target, tags, origin, number)


def _bring_events(source: Path, target: Path, tags: Mapping[str, str | None], origin: int, number: int) -> None:
    try:
        lines = source.read_bytes().splitlines()
    except FileNotFoundError:
        return
    kept: list[Event] = []
    for line in lines:
        event = parse(line)
        if event is None or (event["kind"] == "artifact" and not (target / event["file"]).exists()):
            continue
        if event["kind"] == "start":
            event = _own_start(event, tags, origin, number)
        kept.append(event | {"seq": len(kept) + 1})
    if kept and kept[0]["kind"] == "start":
        with atomic_write(target / EVENTS) as file:
            for event in kept:
                file.write(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def _own_start(event: Event, tags: Mapping[str, str | None], origin: int, number: int) -> Event:
    """Returns the start of a run with another key, under the number that its trial has here."""
    known = event["tags"] | tags
    metrics = {"trial_number": float(number)} if "trial_number" in event["metrics"] else {}
    return event | {
        "key": os.urandom(12).hex(),
        "name": re.sub(rf"^#{origin:03d}\b", f"#{number:03d}", event["name"]),
        "tags": {name: value for name, value in known.items() if value is not None},
        "metrics": event["metrics"] | metrics,
    }
