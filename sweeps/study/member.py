"""What a member of the final stage has of its own: its images, and how it is judged by those that it left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mnistnn.data.dataset import Dataset, Split
from mnistnn.epochs import validation_figures
from mnistnn.errors import Diverged
from mnistnn.training import EpochMetrics, Trainer
from sweeps.study.lineage import AnyTrial, fold_of

__all__ = ["images_of", "inputs_of", "judge"]


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
