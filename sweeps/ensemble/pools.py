"""What studies have to offer to an ensemble: their finished trials, ranked by what they are worth once calibrated."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mnistnn.errors import CheckpointError
from mnistnn.metrics import cross_entropy
from sweeps.ensemble.evidence import Evidence, Reader
from sweeps.ensemble.members import (
    FINAL,
    STAGES,
    Member,
    Trial,
    best_members,
    finished_trials,
    in_order,
    member_of,
    snapshots_of,
)
from sweeps.ensemble.predictions import Predictions
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths

if TYPE_CHECKING:
    import optuna

    from mnistnn.data import Dataset
    from sweeps.config import StudyConfig

__all__ = ["Pool", "Source", "calibrated_loss", "pool_of", "rank", "searched"]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A study that gives members.

    Attributes:
        study: as Optuna has it.
        config: its configuration.
        paths: its paths.
    """

    study: optuna.Study
    config: StudyConfig
    paths: StudyPaths


def rank(
    study: optuna.Study,
    config: StudyConfig,
    paths: StudyPaths,
    *,
    dataset: Dataset | None = None,
    stage: str = "search",
) -> list[Member]:
    """Returns all that could be members, the least loss after a temperature each first; none if no trial finished."""
    finished, _ = _of_stage(_finished(study), config.name, stage)
    if not finished:
        return []
    losses = _losses(finished, Reader(paths, dataset, config.seed))
    return best_members(
        config.name, finished, paths, top=None, default=len(finished), losses=losses, by_network=stage == "final"
    )


def searched(source: Source, dataset: Dataset | None, count: int) -> Evidence | None:
    """Returns what the best trials of a study's search predicted for the validation images.

    Args:
        source: the study.
        dataset: what they must have been run on; without it they only must agree.
        count: how many of them, or as many as there are.

    Returns:
        What they predicted for the same images, all of them for all; None if there are no two such trials.
    """
    reader = Reader(source.paths, dataset, source.config.seed)
    found: list[Predictions] = []
    for member in rank(source.study, source.config, source.paths, dataset=dataset):
        with contextlib.suppress(CheckpointError):  # they were cleaned away
            said = reader.one(member)
            if not found or np.array_equal(said.labels, found[0].labels):
                found.append(said)
        if len(found) == count:
            break
    return Evidence.full([said.probs for said in found], found[0].labels) if len(found) > 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """What a study has to offer, the best first."""

    name: str
    members: list[Member]
    predictions: list[Predictions]
    finished: int
    stage: str


def pool_of(
    source: Source,
    dataset: Dataset | None,
    stage: str,
    top: int | None,
    numbers: Mapping[str, Sequence[int]] | None,
    snapshots: bool,
) -> Pool:
    """Returns the members that a study gives, and what they predicted.

    Args:
        source: the study.
        dataset: what the members must have been run on; without it they only must agree.
        stage: "search", "final", or "auto" for the latter if there are any of it.
        top: how many of the best; by default the study's `ensemble.top`, or of the final stage all.
        numbers: the trials to take instead, by their studies' names.
        snapshots: whether snapshots of the chosen trials are members too.

    Raises:
        StudyError: none finished, fewer than asked for, or one of `numbers` did not.
        CheckpointError: a member's predictions are missing or damaged, or are for other images.
    """
    config, paths = source.config, source.paths
    every, reader = _finished(source.study), Reader(paths, dataset, config.seed)
    if numbers is not None:
        chosen = _named(every, config.name, numbers.get(config.name, ()))
        stages = {"final" if FINAL in trial.user_attrs else "search" for trial in chosen.values()}
        finished, stage = every, stages.pop() if len(stages) == 1 else "mixed"
        top, default = None, len(chosen)
    else:
        chosen, stage = _of_stage(every, config.name, stage)
        finished, default = chosen, len(chosen) if stage == "final" else config.ensemble.top
    members: list[Member] = []
    by_network = stage == "final"
    if chosen or numbers is None:
        losses = _losses(chosen, reader)
        members = best_members(
            config.name, chosen, paths, top=top, default=default, losses=losses, by_network=by_network
        )
    if snapshots:
        members += [
            replace(each, calibrated_loss=calibrated_loss(reader.one(each)))
            for member in members
            for each in snapshots_of(member, every[member.number])
        ]
        members = in_order(members, by_network=by_network)
    return Pool(config.name, members, reader.read(members), len(finished), stage)


def _finished(study: optuna.Study) -> dict[int, Trial]:
    from sweeps.study.storage import origin_of  # Optuna, which who only predicts need not wait for

    attempts = [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued")]
    return finished_trials({origin_of(trial): trial for trial in attempts})


def _of_stage(every: dict[int, Trial], name: str, stage: str) -> tuple[dict[int, Trial], str]:
    """Returns the finished trials of a stage, and which stage that is."""
    if stage not in STAGES:
        raise ValueError(f"`stage` must be one of {', '.join(STAGES)}, but got {stage!r}.")
    final = {number: trial for number, trial in every.items() if FINAL in trial.user_attrs}
    if stage == "auto":
        stage = "final" if final else "search"
    if stage == "final" and not final:
        raise StudyError(
            f"a final stage must have a finished member, but that of study {name!r} has none; take --stage search, or "
            f"`run {name}` first."
        )
    return (final if stage == "final" else {n: each for n, each in every.items() if n not in final}), stage


def _named(every: Mapping[int, Trial], name: str, numbers: Sequence[int]) -> dict[int, Trial]:
    """Returns the finished trials of these numbers.

    Raises:
        StudyError: one of them is none.
    """
    for number in numbers:
        if number not in every:
            raise StudyError(
                f"`--members` must be finished trials, but {number} of study {name!r} is none; see `trials {name}`."
            )
    return {number: every[number] for number in numbers}


def _losses(finished: Mapping[int, Trial], reader: Reader) -> dict[int, float]:
    """Returns the losses of trials after a temperature each, where their predictions are there.

    A trial whose predictions were cleaned away is ranked by the loss that it recorded, which is no lower.
    """
    losses = {}
    for number, trial in finished.items():
        with contextlib.suppress(CheckpointError):
            losses[number] = calibrated_loss(reader.one(member_of(number, trial, reader.paths)))
    return losses


def calibrated_loss(said: Predictions) -> float:
    """Returns the loss of a member's predictions after a temperature of their own."""
    return cross_entropy(said.labels, tempered(said.probs, fit_temperature(said.labels, said.probs)))
