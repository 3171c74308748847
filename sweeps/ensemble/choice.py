"""Which of a study's trials make up an ensemble, and how much each counts: chosen by images that trained none of them.

No function here sees a test image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mnistnn.errors import CheckpointError
from mnistnn.metrics import cross_entropy
from mnistnn.types import Floats, Ints
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.evidence import Evidence, Reader, join
from sweeps.ensemble.members import FINAL, STAGES, Member, Trial, best_members, finished_trials, member_of
from sweeps.ensemble.methods import MethodScore, weigh
from sweeps.ensemble.selection import check_method
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths

if TYPE_CHECKING:
    import optuna

    from mnistnn.data import Dataset
    from sweeps.config import StudyConfig

__all__ = ["Choice", "choose", "rank"]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What was chosen, and by what.

    Attributes:
        ensemble: the members, their weights and the temperature.
        method: how they were weighed.
        evidence: the members' outputs for images that they were not trained on.
        considered: how many of the best trials there were to choose from.
        finished: how many trials had finished.
        stage: "search" or "final": where the members come from.
        scores: what each way of weighing is worth.
    """

    ensemble: Ensemble
    method: str
    evidence: Evidence
    considered: int
    finished: int
    stage: str
    scores: tuple[MethodScore, ...] = ()


def choose(
    study: optuna.Study,
    config: StudyConfig,
    paths: StudyPaths,
    *,
    top: int | None = None,
    method: str | None = None,
    dataset: Dataset | None = None,
    stage: str = "auto",
    compare: bool = False,
) -> Choice:
    """Chooses and weighs members by what they predicted for images that they were not trained on.

    Members are ranked by their loss after a temperature of their own: the loss as it is would punish who was trained
    with smoothed labels, which the ensemble's temperature mends.

    Args:
        study: whose trials.
        config: the study's.
        paths: the study's.
        top: how many of the best trials to take; by default the study's `ensemble.top`, or as many as there are, and of
            the final stage all.
        method: "mean", "weighted", "greedy" or "auto"; by default the study's.
        dataset: what the members must have been run on; without it they only must agree.
        stage: "search" takes the trials of the search, "final" those of the final stage, "auto" the latter if there are
            any.
        compare: whether to score all ways of weighing even where one was named.

    Raises:
        ConfigError: there is no such method.
        StudyError: no trial finished, or fewer than `top` did.
        CheckpointError: a member's predictions are missing or damaged, or are for other images.
    """
    method = check_method(method or config.ensemble.method)
    finished, stage = _finished(study, config.name, stage)
    reader = Reader(paths, dataset, config.seed)
    members = best_members(
        config.name,
        finished,
        paths,
        top=top,
        default=len(finished) if stage == "final" else config.ensemble.top,
        losses=_losses(finished, reader),
    )
    evidence = join(reader.read(members))
    weighing = weigh(evidence, method, compare=compare)
    kept = [index for index, weight in enumerate(weighing.weights) if weight > 0]
    weights = tuple(float(weighing.weights[i]) for i in kept)
    evidence = evidence.of(kept)
    ensemble = Ensemble(
        config.name,
        tuple(_with_loss(members[i], *evidence.member(place)) for place, i in enumerate(kept)),
        weights,
        paths,
        fit_temperature(evidence.labels, evidence.combine(weights)),
    )
    return Choice(ensemble, weighing.method, evidence, len(members), len(finished), stage, weighing.scores)


def rank(
    study: optuna.Study,
    config: StudyConfig,
    paths: StudyPaths,
    *,
    dataset: Dataset | None = None,
    stage: str = "search",
) -> list[Member]:
    """Returns all that could be members, the least loss after a temperature each first; none if no trial finished."""
    finished, _ = _finished(study, config.name, stage)
    losses = _losses(finished, Reader(paths, dataset, config.seed))
    return (
        best_members(config.name, finished, paths, top=None, default=len(finished), losses=losses) if finished else []
    )


def _finished(study: optuna.Study, name: str, stage: str) -> tuple[dict[int, Trial], str]:
    """Returns the finished trials of a stage, and which stage that is."""
    from sweeps.study.storage import origin_of  # Optuna, which who only predicts need not wait for

    if stage not in STAGES:
        raise ValueError(f"`stage` must be one of {', '.join(STAGES)}, but got {stage!r}.")
    attempts = [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued")]
    every = finished_trials({origin_of(trial): trial for trial in attempts})
    final = {number: trial for number, trial in every.items() if FINAL in trial.user_attrs}
    if stage == "auto":
        stage = "final" if final else "search"
    if stage == "final" and not final:
        raise StudyError(
            f"a final stage must have a finished member, but that of study {name!r} has none; take --stage search, or "
            f"`run {name}` first."
        )
    return (final if stage == "final" else {n: each for n, each in every.items() if n not in final}), stage


def _losses(finished: Mapping[int, Trial], reader: Reader) -> dict[int, float]:
    """Returns the losses of trials after a temperature each, where their predictions are there.

    A trial whose predictions were cleaned away is ranked by the loss that it recorded, which is no lower.
    """
    losses = {}
    for number, trial in finished.items():
        try:
            found = reader.one(member_of(number, trial, reader.paths))
        except CheckpointError:
            continue
        temperature = fit_temperature(found.labels, found.probs)
        losses[number] = cross_entropy(found.labels, tempered(found.probs, temperature))
    return losses


def _with_loss(member: Member, labels: Ints, probs: Floats) -> Member:
    """Returns a member with the loss that its trial did not record: one of the final stage is not validated."""
    return member if np.isfinite(member.val_loss) else replace(member, val_loss=cross_entropy(labels, probs))
