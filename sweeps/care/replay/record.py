"""What is recorded of a trial that has ended: what its training follows from, and what came of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mnistnn.checkpoint import check_checkpoint, read_header
from mnistnn.epochs import VALIDATED
from mnistnn.errors import CheckpointError, InputError
from mnistnn.files import sha256_file
from mnistnn.npz import open_plain
from mnistnn.recipe import Recipe
from sweeps.config import StudyConfig
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.lineage import (
    IMPORTED,
    Stage,
    fold_of,
    identity_of,
    seed_of,
    stages_of,
    total_epochs,
    trial_seed,
)
from sweeps.study.lookup import config_of, find_trial, values_of
from sweeps.study.snapshots import SNAPSHOTS
from sweeps.study.space import Space
from sweeps.study.storage import origin_of
from sweeps.study.validation import reported
from sweeps.tracking.events import EVENTS, Event, parse

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

__all__ = ["COMPARED", "DIVERGED", "Point", "Record", "read_record", "state_of"]

#: What of an epoch must come out again: all but its time.
COMPARED = ("train_loss", "train_accuracy", "learning_rate", *VALIDATED)
#: Begins the reason of a trial whose loss stopped being a number.
DIVERGED = "diverged: "

# What a checkpoint's header says of the training's state; its history holds times, too.
_STATE = ("epoch", "step", "best_epoch", "rngs", "arrays_sha256")
_LARGEST_FILE = 1 << 20  # bytes, of a recipe or a history: a hundred times what ours take
_LONGEST_LINE = 1 << 20
_MOST_LAYERS = 100
_STORAGE = "the study's storage"
_SHOWN = 3


class Point(NamedTuple):
    """A value of an epoch, and where it is recorded."""

    epoch: int
    name: str
    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A trial that has ended.

    Attributes:
        study: the study that it is in.
        number: the number that it began under.
        state: COMPLETE or PRUNED.
        reason: why it was pruned.
        recipe: how it was trained, over all of its stages.
        stages: its stages.
        epochs: how many whole epochs it had.
        seed: what everything random in it derives from.
        split_seed: what the images were parted by.
        fold: of a member of the final stage, which part of all images it left out, of how many, dealt by which seed.
        monitor: by which metric its best epoch was chosen.
        validation_shift: by how much the validation images were moved that it was judged by too.
        identity: what the header of its weights says besides.
        weights_sha256: the digest of its weights; None for one that has none.
        snapshots: the epochs that it kept its weights of on the way.
        curve: its epochs' values, from wherever they are recorded.
        made_by: versions and commit, as `provenance.made_by` has them; what is not recorded is not in it.
        data_digest: what it was trained on.
        folder: where its files lie.
        remarks: what does not go together in the record.
    """

    study: str
    number: int
    state: str
    reason: str
    recipe: Recipe
    stages: list[Stage]
    epochs: int
    seed: np.random.SeedSequence
    split_seed: int
    fold: tuple[int, int, int] | None
    monitor: str
    validation_shift: int
    identity: dict[str, Any]
    weights_sha256: str | None
    snapshots: frozenset[int]
    curve: list[Point]
    made_by: dict[str, str | None]
    data_digest: str | None
    folder: Path
    remarks: list[str] = field(default_factory=list)

    @property
    def has_diverged(self) -> bool:
        """Whether it ended because its loss stopped being a number."""
        return self.reason.startswith(DIVERGED)


def read_record(study: optuna.Study, paths: StudyPaths, number: int) -> Record:
    """Reads what is recorded of a trial. Its configuration is that of the storage, whatever the study's file says now.

    Raises:
        StudyError: there is no such trial, it has not ended with something to compare, or its record is not whole.
    """
    config = config_of(study)
    trial = find_trial(study, number)
    state, attributes = trial.state.name, trial.user_attrs
    if state not in ("COMPLETE", "PRUNED"):
        why = f" ({attributes['reason']})" if attributes.get("reason") else ""
        remedy = "nothing of it was finished" if state == "FAIL" else "wait for its end"
        raise StudyError(f"a trial must have ended well to be replayed, but #{number:03d} is {state}{why}; {remedy}.")
    digest = attributes.get("weights_sha256")
    if state == "COMPLETE" and not isinstance(digest, str):
        raise StudyError(
            f"a finished trial must have the digest of its weights, but #{number:03d} has none recorded; there is "
            "nothing to compare with."
        )
    folder = paths.trial(number)
    recipe, remarks = _recipe(trial, config, folder, digest)
    imported = attributes.get(IMPORTED)
    return Record(
        study=study.study_name,
        number=number,
        state=state,
        reason=str(attributes.get("reason", "")) if state == "PRUNED" else "",
        recipe=recipe,
        stages=stages_of(trial, recipe.training.epochs),
        epochs=int(attributes.get("epochs_run", max(trial.intermediate_values, default=0))),
        seed=trial_seed(*seed_of(trial, config.seed)),
        split_seed=config.seed if imported is None else int(imported["seed"]),
        fold=fold_of(trial),
        monitor=config.metric,
        validation_shift=config.validation_shift,
        identity=identity_of(trial, config.name, config.seed),
        weights_sha256=digest if state == "COMPLETE" else None,
        snapshots=_snapshots(trial) if state == "COMPLETE" else frozenset(),
        curve=[*_reported(trial, reported(config, trial)), *_logged(folder), *_history(folder)],
        made_by=_made_by(folder),
        data_digest=study.user_attrs.get("data_digest"),
        folder=folder,
        remarks=remarks,
    )


def state_of(path: Path) -> dict[str, Any] | None:
    """Returns what tells a checkpoint's state from any other; None where it is missing or damaged."""
    try:
        header = check_checkpoint(path)
    except CheckpointError:
        return None
    return {name: header.get(name) for name in _STATE}


def _recipe(trial: FrozenTrial, config: StudyConfig, folder: Path, digest: str | None) -> tuple[Recipe, list[str]]:
    """Returns how a trial was trained, and a remark if its record disagrees about it.

    The header of its weights says it, if their digest vouches for them; else the file beside them, which was written
    when it was so; else what its parameters come to now.
    """
    where, kept = _kept_recipe(folder, digest)
    try:
        drawn = Space(config).recipe(values_of(trial, Space(config)))
        epochs = total_epochs(trial, config.budget.epochs)
        drawn = Recipe(drawn.network, replace(drawn.training, epochs=epochs))
    except (InputError, KeyError, TypeError) as error:
        if kept is None:
            raise StudyError(
                f"a trial must have the parameters of a training, but those of #{origin_of(trial):03d} are none "
                f"({error}); its study was run by another version of this project."
            ) from error
        return kept, []
    if kept is None:
        return drawn, []
    said, now = dict(_leaves(kept.to_dict())), dict(_leaves(drawn.to_dict()))
    odd = [name for name in {**said, **now} if said.get(name) != now.get(name)]
    if not odd or trial.user_attrs.get(IMPORTED):  # which was drawn from another study's space
        return kept, []
    shown = ", ".join(f"{name} {said.get(name)}, not {now.get(name)}" for name in odd[:_SHOWN])
    return kept, [f"trained by {where}, which is not what the trial's parameters come to today: {shown}"]


def _kept_recipe(folder: Path, digest: str | None) -> tuple[str, Recipe | None]:
    weights = folder / "weights.npz"
    try:
        if digest is not None and weights.is_file() and sha256_file(weights) == digest:
            header = read_header(weights)
            return weights.name, _sized({part: header.get(part) for part in ("network", "training")})
        with open_plain(folder / "recipe.json") as file:
            return "recipe.json", _sized(json.loads(file.read(_LARGEST_FILE)))
    except (InputError, OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return "", None


def _sized(values: dict[str, Any]) -> Recipe:
    """Builds a recipe, unless its network has more layers than any of ours, which would take memory for each."""
    if len(values["network"]["layers"]) > _MOST_LAYERS:
        raise ValueError("too many layers")
    return Recipe.from_dict(values)


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    elif isinstance(values, list | tuple) and values:
        for index, value in enumerate(values):
            yield from _leaves(value, f"{path}.{index}")
    else:
        yield path, values


def _snapshots(trial: FrozenTrial) -> frozenset[int]:
    return frozenset(int(epoch) for epoch in trial.user_attrs.get(SNAPSHOTS) or {} if epoch.isdecimal())


def _reported(trial: FrozenTrial, name: str) -> Iterator[Point]:
    for epoch, value in trial.intermediate_values.items():
        yield Point(epoch, name, float(value), _STORAGE)


def _events(folder: Path) -> Iterator[Event]:
    try:
        with open_plain(folder / EVENTS) as file:
            while line := file.readline(_LONGEST_LINE + 1):
                if event := parse(line):
                    yield event
    except (OSError, ValueError):
        return


def _logged(folder: Path) -> Iterator[Point]:
    for event in _events(folder):
        if event["kind"] == "epoch":
            for name in COMPARED:
                if name in event["metrics"]:
                    yield Point(event["step"], name, float(event["metrics"][name]), EVENTS)


def _history(folder: Path) -> list[Point]:
    try:
        with open_plain(folder / "history.csv") as file:
            rows = csv.DictReader(file.read(_LARGEST_FILE).decode().splitlines())
        return [
            Point(int(row["epoch"]), name, float(row[name]), "history.csv")
            for row in rows
            for name in COMPARED
            if row.get(name)
        ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):  # the events say as much
        return []


def _made_by(folder: Path) -> dict[str, str | None]:
    tags: dict[str, Any] = next((event["tags"] for event in _events(folder) if event["kind"] == "start"), {})
    made: dict[str, str | None] = {
        name: str(tags[name]) for name in ("python", "numpy", "blas", "machine") if tags.get(name)
    }
    if tags.get("git_commit"):
        made["commit"] = f"{tags['git_commit']}-dirty" if tags.get("git_dirty") == "true" else str(tags["git_commit"])
    return made
