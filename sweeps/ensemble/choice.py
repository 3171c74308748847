"""Which of a study's trials make up an ensemble, and how much each counts: chosen by the validation images alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mnistnn.types import Floats, Ints
from sweeps.ensemble.averaging import Ensemble
from sweeps.ensemble.members import best_members, finished_trials, load_predictions, load_val_probs
from sweeps.ensemble.selection import METHODS, check_method
from sweeps.paths import StudyPaths

if TYPE_CHECKING:
    import optuna

    from sweeps.config import StudyConfig

__all__ = ["Choice", "choose"]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What the validation images chose.

    Attributes:
        ensemble: the members and their weights.
        method: how they were weighed.
        probs: the members' outputs for the validation images.
        labels: the validation labels.
        considered: how many of the best trials there were to choose from.
        finished: how many trials had finished.
    """

    ensemble: Ensemble
    method: str
    probs: list[Floats]
    labels: Ints
    considered: int
    finished: int


def choose(
    study: optuna.Study,
    config: StudyConfig,
    paths: StudyPaths,
    *,
    top: int | None = None,
    method: str | None = None,
    labels: Ints | None = None,
) -> Choice:
    """Chooses and weighs members by what they predicted for the validation images when they ended.

    Args:
        study: whose trials.
        config: the study's.
        paths: the study's.
        top: how many of the best trials to take; by default the study's `ensemble.top`, or as many as there are.
        method: "mean" or "greedy"; by default the study's.
        labels: the validation labels, which the members must have seen; by default those that the best one stored.

    Raises:
        ConfigError: there is no such method.
        StudyError: no trial finished, or fewer than `top` did.
        CheckpointError: a member's predictions are missing or damaged, or are for other images.
    """
    from sweeps.study.storage import origin_of  # Optuna, which who only predicts need not wait for

    method = check_method(method or config.ensemble.method)
    attempts = [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get("requeued")]
    finished = finished_trials({origin_of(trial): trial for trial in attempts})
    members = best_members(config.name, finished, paths, top=top, default=config.ensemble.top)
    seen = load_predictions(members[0], paths)[1] if labels is None else labels
    probs = [load_val_probs(member, paths, seen) for member in members]
    weights = METHODS[method](probs, seen)
    kept = [index for index, weight in enumerate(weights) if weight > 0]
    ensemble = Ensemble(config.name, tuple(members[i] for i in kept), tuple(float(weights[i]) for i in kept), paths)
    return Choice(ensemble, method, [probs[i] for i in kept], seen, len(members), len(finished))
