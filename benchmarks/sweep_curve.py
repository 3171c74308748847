"""How good a sweep's ensemble was at any time, from what its trials left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mnistnn.metrics import accuracy, cross_entropy

__all__ = ["Finished", "Point", "TrialRecord", "at", "curve", "kept_from", "reached", "read_sweep", "steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial that was begun. **Units**: seconds since the sweep's command began.

    Attributes:
        number: in its study.
        label: its architecture in a few words.
        preset: the baseline that it is, if it is one.
        state: "COMPLETE", "PRUNED", "FAIL"; or "WAITING" or "RUNNING" where it was left in the middle.
        begun_s: when.
        ended_s: when, if it has.
        val_loss: of its best epoch, if it is complete.
    """

    number: int
    label: str
    state: str
    begun_s: float
    ended_s: float | None = None
    val_loss: float | None = None
    preset: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete trial: when it ended, and what its best epoch predicts. Shape: probs: (N, 10)"""

    seconds: float
    probs: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """From `seconds` on, until the next point, a sweep would have had this to give.

    Attributes:
        seconds: since its command began.
        members: how many trials are averaged.
        ensemble_loss: the validation loss of their average.
        ensemble_accuracy: its validation accuracy.
        single_loss: the validation loss of the best one.
    """

    seconds: float
    members: int
    ensemble_loss: float
    ensemble_accuracy: float
    single_loss: float


def curve(finished: Iterable[Finished], labels: np.ndarray, top: int) -> list[Point]:
    """Returns a point for each trial that ended.

    Args:
        finished: the complete trials, in any order.
        labels: of the validation images.
        top: how many of the best by validation loss are averaged; fewer while there are fewer.
    """
    best: list[tuple[float, np.ndarray]] = []
    points = []
    for trial in sorted(finished, key=lambda trial: trial.seconds):
        best.append((cross_entropy(labels, trial.probs), trial.probs))
        best = sorted(best, key=lambda known: known[0])[:top]
        mean = np.mean([probs for _, probs in best], axis=0, dtype=np.float64)
        points.append(
            Point(
                seconds=trial.seconds,
                members=len(best),
                ensemble_loss=cross_entropy(labels, mean),
                ensemble_accuracy=accuracy(labels, mean),
                single_loss=best[0][0],
            )
        )
    return points


def at(points: Sequence[Point], seconds: float) -> Point | None:
    """Returns what a sweep had at a time; None before its first trial ended."""
    return next((point for point in reversed(points) if point.seconds <= seconds), None)


def reached(points: Sequence[Point], loss: float) -> float | None:
    """Returns when the ensemble first was as good as `loss`; None if it never was."""
    return next((point.seconds for point in points if point.ensemble_loss <= loss), None)


def kept_from(points: Sequence[Point], loss: float) -> float | None:
    """Returns since when the ensemble is as good as `loss` and never worse again; None if it is not.

    An average can get worse: while there are few trials, each that ends is a member, however bad.
    """
    since = None
    for point in points:
        if point.ensemble_loss > loss:
            since = None
        elif since is None:
            since = point.seconds
    return since


def steps(points: Sequence[Point], until: float, value: Callable[[Point], float]) -> tuple[list[float], list[float]]:
    """Returns times and values of a step curve that is drawn with `where="post"` up to `until`."""
    shown = [point for point in points if point.seconds <= until]
    times, values = [point.seconds for point in shown], [value(point) for point in shown]
    return [*times, until][: len(times) + bool(times)], [*values, *values[-1:]]


def read_sweep(
    journal: Path, study: str, val_probs: Callable[[int], Path], began: float
) -> tuple[list[TrialRecord], list[Finished], np.ndarray]:
    """Reads a sweep's trials, the same way whoever ran it.

    Args:
        journal: Optuna's.
        study: its name.
        val_probs: gives the file of a complete trial's predictions, with `probs` and `labels`.
        began: when its command was started, in seconds since 1970.

    Returns:
        The trials that were begun, the predictions of those that are complete, and the validation labels (empty where
        none is).

    Raises:
        ValueError: two trials have other validation images.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    records, finished, labels = [], [], np.empty(0, np.int64)
    for trial in optuna.load_study(study_name=study, storage=storage).get_trials(deepcopy=False):
        if "label" not in trial.user_attrs or trial.datetime_start is None:  # nothing was built of it
            continue
        number = int(trial.user_attrs.get("origin", trial.number))
        ended_s = None if trial.datetime_complete is None else trial.datetime_complete.timestamp() - began
        val_loss = None
        if trial.state.name == "COMPLETE" and ended_s is not None:
            with np.load(val_probs(number)) as file:
                probs, own = file["probs"], file["labels"].astype(np.int64)
            if labels.size and not np.array_equal(labels, own):
                raise ValueError(f"all trials must predict the same validation images, but #{number:03d} has others.")
            labels, val_loss = own, cross_entropy(own, probs)
            finished.append(Finished(ended_s, probs))
        records.append(
            TrialRecord(
                number=number,
                label=trial.user_attrs["label"],
                preset=trial.user_attrs.get("preset"),
                state=trial.state.name,
                begun_s=trial.datetime_start.timestamp() - began,
                ended_s=ended_s,
                val_loss=val_loss,
            )
        )
    return records, finished, labels
