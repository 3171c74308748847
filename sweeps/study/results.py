"""What is kept of a trial that has ended: its files, and its figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from mnistnn.checkpoint import save_model
from mnistnn.data.dataset import Split
from mnistnn.epochs import VALIDATED, metric_names
from mnistnn.files import atomic_write
from mnistnn.machine import peak_mb
from mnistnn.recipe import Recipe
from mnistnn.training import EpochMetrics, Trainer
from sweeps.study.validation import OBJECTIVE

__all__ = ["end_results", "write_history", "write_results"]


def write_results(
    folder: Path, trainer: Trainer, recipe: Recipe, validation: Split, extra: Mapping[str, Any]
) -> tuple[list[str], str]:
    """Writes a trained network's weights, its recipe and its predictions on the validation images.

    Args:
        folder: the trial's folder.
        trainer: whose network holds the weights to keep.
        recipe: how it was built and trained.
        validation: the images to predict; `val_probs.npz` keeps their order, and says by `indices` which rows of all
            training images they are.
        extra: what the header of the weights says besides.

    Returns:
        The files' names, and the SHA-256 of the weights.
    """
    digest = save_model(folder / "weights.npz", trainer.network, recipe=recipe, extra=extra)
    with atomic_write(folder / "recipe.json", "w") as file:
        json.dump(recipe.to_dict(), file, indent=2)
        file.write("\n")
    images, labels = validation.take()
    probs = np.asarray(trainer.network.predict_proba(cast(Any, images)), np.float32)  # (N, 10)
    with atomic_write(folder / "val_probs.npz") as file:
        np.savez(file, allow_pickle=False, probs=probs, labels=labels, indices=validation.indices)
    return ["weights.npz", "recipe.json", "val_probs.npz"], digest


def write_history(folder: Path, history: Sequence[EpochMetrics]) -> None:
    """Writes `history.csv`: one line an epoch; what was not validated stays empty."""
    with atomic_write(folder / "history.csv", "w") as file:
        writer = csv.DictWriter(file, metric_names(history), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(metrics) for metrics in history)


def end_results(
    trainer: Trainer, best: EpochMetrics | None, known: Mapping[str, float], *, metric: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns what a trial came to, as its attributes, and as the metrics of its run, where the best epoch's say so.

    Args:
        trainer: at its end.
        best: the epoch that the trial is judged by; None where none was validated.
        known: other figures of its end.
        metric: what the study judges by.
    """
    results: dict[str, float] = {
        "epochs_run": len(trainer.history),
        "seconds": round(sum(metrics.seconds for metrics in trainer.history), 3),
        "peak_mb": peak_mb(),
    }
    results |= known
    attributes = results | {"params": trainer.network.param_count, "macs": trainer.network.macs}
    if best is not None and best.val_loss is not None and best.val_accuracy is not None:
        figures = {name: getattr(best, name) for name in VALIDATED}
        judged = {name: float(value) for name, value in figures.items() if value is not None}
        if len(judged) > 2:  # by more than the loss and the accuracy
            judged[OBJECTIVE] = best.value(metric) or 0.0
        attributes |= {"best_epoch": best.epoch} | judged
        results |= {"best_epoch": best.epoch} | {f"best_{name}": value for name, value in judged.items()}
    return attributes, results
