"""The winner's curse of a study: how much of the best trial's lead is luck, by what the trials left."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from mnistnn.npz import read_arrays
from mnistnn.types import Floats, UInt8s
from sweeps.config import StudyConfig
from sweeps.ensemble.evaluate import Interval, accuracy_gain
from sweeps.ensemble.predictions import are_probs
from sweeps.paths import StudyPaths
from sweeps.views.report.figures import Curse, EnsembleFacts, Gap, WinnerFacts
from sweeps.views.report.listed import TrialFacts
from sweeps.views.report.statistics import (
    Answers,
    binomial_error,
    difference,
    expected_maximum,
    normal_optimism,
    resampled_optimism,
)

__all__ = ["Predictions", "find_curse", "read_predictions"]

# Of so many of the best trials the predictions are read: what is worse than all of them wins on no images.
_MOST = 200

Predictions = tuple[UInt8s, dict[int, Floats]]


def read_predictions(ranked: Sequence[TrialFacts], paths: StudyPaths) -> Predictions | None:
    """Reads what trials predicted for the validation images when they ended.

    Args:
        ranked: the complete trials, the best first.
        paths: the study's paths.

    Returns:
        The labels, and the probabilities by the trials' numbers; those without, or of other images, are left out. None
        where the best trial's own are not there.
    """
    if not ranked or (best := _read(paths, ranked[0].number)) is None:
        return None
    labels, probs = best[0], {ranked[0].number: best[1]}
    for trial in ranked[1:_MOST]:
        found = _read(paths, trial.number)
        if found is not None and np.array_equal(found[0], labels):
            probs[trial.number] = found[1]
    return labels, probs


def find_curse(
    ranked: Sequence[TrialFacts],
    winner: WinnerFacts,
    ensemble: EnsembleFacts | None,
    predictions: Predictions | None,
    config: StudyConfig,
) -> Curse:
    """Says how much the winner is to be believed.

    Args:
        ranked: the complete trials that it was the best of, itself the first.
        winner: what is known of it.
        ensemble: the study's ensemble, if it has one.
        predictions: what `read_predictions` gave.
        config: the study.
    """
    accuracies = [trial.val_accuracy for trial in ranked if trial.val_accuracy is not None]
    error = expected = bound = None
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    if winner.accuracy is not None and winner.images:
        error = binomial_error(winner.accuracy.estimate, winner.images)
        bound = error * expected_maximum(len(accuracies))
        expected = bound if spread is None else normal_optimism(spread, error, len(accuracies))
    optimism = ties = None
    if predictions is not None and len(predictions[1]) > 1:
        labels, probs = predictions
        by_accuracy = config.metric == "val_accuracy"
        optimism = resampled_optimism(Answers.of(labels, list(probs.values())), by_accuracy=by_accuracy)
        first, *others = probs.values()
        ties = sum(accuracy_gain(labels, first, other).low <= 0 for other in others)
    return Curse(
        trials=len(ranked),
        error=error,
        spread=spread,
        expected=expected,
        bound=bound,
        optimism=optimism.accuracy if optimism else None,
        loss_optimism=optimism.loss if optimism else None,
        compared=0 if predictions is None else len(predictions[1]),
        wins=optimism.wins[0] if optimism else None,
        ties=ties,
        gaps=_gaps(winner, ensemble),
    )


def _gaps(winner: WinnerFacts, ensemble: EnsembleFacts | None) -> tuple[Gap, ...]:
    gaps = []
    if winner.accuracy is not None and winner.test_accuracy is not None:
        accuracy = difference(winner.accuracy, winner.test_accuracy)
        loss = (winner.test_loss or 0.0) - (winner.trial.val_loss or 0.0)
        gaps.append(_gap(winner.trial.name, "validation", accuracy, loss))
    if ensemble is not None:
        accuracy = difference(ensemble.val_accuracy, ensemble.test_accuracy)
        loss = ensemble.test_loss.estimate - ensemble.val_loss.estimate
        gaps.append(_gap("ensemble", ensemble.chosen_by, accuracy, loss, is_partial=ensemble.is_partial))
    return tuple(gaps)


def _gap(name: str, chosen_by: str, accuracy: Interval, loss: float, *, is_partial: bool = False) -> Gap:
    is_chance = accuracy.low <= 0 <= accuracy.high
    return Gap(name=name, chosen_by=chosen_by, accuracy=accuracy, loss=loss, is_chance=is_chance, is_partial=is_partial)


def _read(paths: StudyPaths, number: int) -> tuple[UInt8s, Floats] | None:
    """Returns a trial's labels and probabilities; None where they are cleaned away or damaged."""
    try:
        arrays = read_arrays(paths.trial(number) / "val_probs.npz", ("probs", "labels"))
    except (OSError, ValueError, KeyError):
        return None
    labels, probs = arrays["labels"], arrays["probs"]
    if labels.dtype != np.uint8 or labels.ndim != 1 or not labels.size or labels.max() > 9:
        return None
    if not are_probs(probs, len(labels)):
        return None
    return np.asarray(labels, np.uint8), np.asarray(probs, np.float32)
