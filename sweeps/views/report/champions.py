"""The best trial and the ensemble, as far as the record knows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnistnn.errors import InputError
from mnistnn.npz import read_arrays
from sweeps.ensemble.evaluate import Interval, share_interval
from sweeps.ensemble.predictions import are_probs
from sweeps.ensemble.probs import PROBS
from sweeps.ensemble.record import EnsembleReport, load_report
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.views.report.curse import Predictions
from sweeps.views.report.figures import Confusion, EnsembleFacts, MemberFacts, WinnerFacts
from sweeps.views.report.listed import TrialFacts
from sweeps.views.report.statistics import loss_interval

__all__ = ["read_ensemble", "read_winner"]

_MOST_CONFUSED = 5


def read_winner(
    trial: TrialFacts, ensemble: EnsembleFacts | None, predictions: Predictions | None, images: int | None
) -> WinnerFacts:
    """Returns what is known of the best trial.

    Args:
        trial: the trial.
        ensemble: the study's ensemble: only its members were scored on test images.
        predictions: what trials predicted for the validation images.
        images: how many validation images there are, if that is recorded.
    """
    loss = None
    if predictions is not None:
        labels, probs = predictions
        images, loss = len(labels), loss_interval(labels, probs[trial.number])
    member = next((each for each in ensemble.members if each.name == trial.name), None) if ensemble else None
    return WinnerFacts(
        trial=trial,
        accuracy=share_interval(trial.val_accuracy, images) if images and trial.val_accuracy is not None else None,
        loss=loss,
        test_accuracy=share_interval(member.test_accuracy, ensemble.test_images) if ensemble and member else None,
        test_loss=member.test_loss if member else None,
        images=images,
    )


def read_ensemble(paths: StudyPaths, ranked: Sequence[TrialFacts]) -> tuple[EnsembleFacts | None, str]:
    """Reads the study's last ensemble.

    Args:
        paths: the study's paths.
        ranked: the complete trials by validation loss, the best first.

    Returns:
        What is known of it, or None and why.
    """
    try:
        report = load_report(paths)
        return _facts(report, paths, ranked), ""
    except StudyError:
        return None, "No ensemble was built yet."
    except (InputError, ValueError) as error:
        return None, f"The ensemble's record cannot be read: {str(error).rstrip('.')}."


def _facts(report: EnsembleReport, paths: StudyPaths, ranked: Sequence[TrialFacts]) -> EnsembleFacts:
    counts = (int(report.data["validation_images"]), int(report.data["test_images"]))
    losses = _losses(paths, report, counts)
    known = [trial.name for trial in ranked]
    # No other trials than there were; or those that came are no better than the members. They are ranked here by their
    # losses as they are, for to calibrate them is to read what all have predicted.
    is_current = (
        report.stage != "search"
        or len(known) == report.finished
        or {each.member.name for each in report.members if each.member.is_own and each.member.epoch is None}
        <= set(known[: report.considered])
    )
    return EnsembleFacts(
        title=report.title,
        method=report.method,
        choice=report.choice,
        chosen_by=report.chosen_by,
        ranked_by=report.ranked_by,
        answers=report.answers,
        considered=report.considered,
        members=tuple(
            MemberFacts(
                number=each.member.number,
                name=each.member.name,
                label=each.member.label,
                weight=each.weight,
                images=counts[0] if each.images is None else each.images,
                val_accuracy=each.scores.val.accuracy,
                val_loss=each.scores.val.loss,
                test_accuracy=each.scores.test.accuracy,
                test_loss=each.scores.test.loss,
            )
            for each in report.members
        ),
        val_accuracy=share_interval(report.scores.val.accuracy, counts[0]),
        val_loss=losses[0] or _point(report.scores.val.loss),
        test_accuracy=share_interval(report.scores.test.accuracy, counts[1]),
        test_loss=losses[1] or _point(report.scores.test.loss),
        val_gain=report.val_gain.accuracy,
        val_loss_gain=report.val_gain.loss,
        test_gain=report.test_gain.accuracy,
        test_loss_gain=report.test_gain.loss,
        validation_images=counts[0],
        test_images=counts[1],
        confusion=Confusion(counts=report.confusion, most=_most(report.confusion)),
        digest=report.digest,
        time=report.time,
        commit=report.commit,
        best_test_accuracy=share_interval(report.best.scores.test.accuracy, counts[1]),
        is_current=is_current,
    )


def _losses(paths: StudyPaths, report: EnsembleReport, counts: tuple[int, int]) -> list[Interval | None]:
    """Returns the intervals of the losses on validation and test images, from the predictions that were kept."""
    names = ("ensemble", "val", "val_labels", "test", "test_labels")
    try:
        arrays = read_arrays(paths.ensemble / PROBS, names)
    except (OSError, ValueError, KeyError):
        return [None, None]
    if str(arrays["ensemble"]) != report.digest:
        return [None, None]
    found: list[Interval | None] = []
    for part, count in zip(("val", "test"), counts, strict=True):
        probs, labels = arrays[part], arrays[f"{part}_labels"]
        is_sound = are_probs(probs, count) and labels.shape == (count,) and labels.dtype.kind in "iu"
        if not is_sound or labels.min() < 0 or labels.max() > 9:
            found.append(None)
            continue
        found.append(loss_interval(np.asarray(labels, np.uint8), np.asarray(probs, np.float32)))
    return found


def _point(value: float) -> Interval:
    return Interval(value, value, value)


def _most(counts: Sequence[Sequence[int]]) -> tuple[tuple[int, int, int], ...]:
    pairs = [
        (label, predicted, count)
        for label, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count and label != predicted
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))[:_MOST_CONFUSED])
