"""What a member of the final stage has of its own: its images, and how it is judged by those that it left out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import optuna

from mnistnn.data.dataset import Dataset, Split
from mnistnn.epochs import validation_figures
from mnistnn.errors import Diverged
from mnistnn.training import EpochMetrics, Trainer
from sweeps.study.bench import Bench
from sweeps.study.lineage import FINAL, AnyTrial, fold_of, shortened
from sweeps.study.member_time import SHORTEST, fewer_epochs
from sweeps.study.storage import origin_of

__all__ = ["images_of", "inputs_of", "judge", "shorten"]

#: How many epochs tell how long the next ones take.
_FEW: Final = 3


def images_of(trial: AnyTrial, dataset: Dataset) -> tuple[Split, Split] | None:
    """Returns the images that a member learns from, and those that it leaves out; None for a trial of the search."""
    fold = fold_of(trial)
    return None if fold is None else dataset.fold(*fold)


def judge(trainer: Trainer, left_out: Split, metric: str) -> EpochMetrics:
    """Returns the last epoch's metrics with those of the images that were left out, which are looked at only now.

    Args:
        trainer: at its end; its network has the weights to keep from here on.
        left_out: the images.
        metric: what the study judges by.

    Raises:
        Diverged: the loss is not a finite number.
    """
    trainer.restore_best()
    figures = validation_figures(trainer.network, *left_out.take(), metric)
    if not math.isfinite(loss := figures["val_loss"]):
        raise Diverged(f"the loss on the images that were left out is {loss}")
    return replace(trainer.history[-1], **figures)


def inputs_of(inputs: Sequence[Mapping[str, Any]], images: tuple[Split, Split]) -> list[dict[str, Any]]:
    """Returns the data sets that a member's run shows.

    Args:
        inputs: those of the study, as `TrialLog.start` takes them.
        images: what `images_of` gave.
    """
    learnt, left_out = images
    own: dict[str, dict[str, Any]] = {
        "training": {"rows": len(learnt)},
        "validation": {"rows": len(left_out), "context": "out of fold"},
    }
    return [{**entry, **own.get(str(entry.get("context")), {})} for entry in inputs]


def shorten(
    trial: optuna.Trial, bench: Bench, done: int, epochs_s: Sequence[float], check: Callable[[], None]
) -> str | None:
    """Gives a member fewer epochs where it would not end in time.

    What was begun with time to spare may lack it later, when the machine is slower. Its schedule comes to its end all
    the same; what is cut off before that is of no use.

    Args:
        trial: the trial, which is told in the study.
        bench: what the worker has at hand.
        done: its epochs so far.
        epochs_s: the seconds of those of this attempt.
        check: called before the study is told; raises Superseded if the trial is another process's by now.

    Returns:
        What was changed, in words; None if nothing was, or the trial is no member.
    """
    known, final, left_s = trial.user_attrs.get(FINAL), bench.config.final, bench.left_s()
    if known is None or final is None or left_s is None or len(epochs_s) < _FEW:
        return None
    now_s = statistics.fmean(epochs_s[-_FEW:])
    epochs = fewer_epochs(done, int(known["epochs"]), now_s, left_s, SHORTEST * final.epochs)
    if epochs is None:
        return None
    check()
    trial.set_user_attr(FINAL, shortened(known, done, epochs))
    how = f"{epochs} epochs instead of {known['epochs']}, from epoch {done} on"
    bench.say(f"trial {origin_of(trial)}: {how}, as there is no time for more")
    return how
