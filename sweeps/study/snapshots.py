"""What a training was at the end of each cycle of its learning rate: members of an ensemble that cost no training.

Each cycle ends in a minimum of its own, near which the net errs on other images than near the last.
Source: Huang et al. 2017, "Snapshot ensembles: train 1, get M for free".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from mnistnn.checkpoint import save_model
from mnistnn.data.dataset import Split
from mnistnn.files import atomic_write, sha256_file
from mnistnn.recipe import Recipe
from mnistnn.training import Trainer

__all__ = [
    "SNAPSHOTS",
    "is_due",
    "probs_name",
    "recorded",
    "remove",
    "snapshot_files",
    "weights_name",
    "write_snapshot",
]

#: The user attribute of a trial that has any: by the epoch, the digest of the weights and the validation loss.
SNAPSHOTS = "snapshots"

_NAME = re.compile(r"snapshot-([0-9]{2,4})(\.probs)?\.npz")


def weights_name(epoch: int) -> str:
    """Returns the name of the file with the weights after an epoch."""
    return f"snapshot-{epoch:02d}.npz"


def probs_name(epoch: int) -> str:
    """Returns the name of the file with what they predicted, as `val_probs.npz` has it."""
    return f"snapshot-{epoch:02d}.probs.npz"


def is_due(trainer: Trainer, inherited: int) -> bool:
    """Says whether a cycle has ended with the last epoch, and another one follows.

    What the last cycle comes to is the trial itself. A training that is not validated has nothing to choose by.

    Args:
        trainer: whose last epoch it is.
        inherited: so many epochs are those of the trial that this one goes on with. Their snapshots are that one's,
            whether or not they had to be trained again.
    """
    epoch, epochs = trainer.epoch, trainer.spec.epochs
    is_on_the_way = bool(trainer.best_epoch) and inherited < epoch < epochs
    return is_on_the_way and epoch in trainer.spec.schedule.cycle_ends(epochs)


def write_snapshot(folder: Path, trainer: Trainer, recipe: Recipe, validation: Split, extra: Mapping[str, Any]) -> None:
    """Writes the weights as they are after this epoch, or their average, and what they predict.

    Whoever comes to this epoch again, after a kill or in a replay, writes the same bytes.

    Args:
        folder: the trial's folder.
        trainer: whose network it is.
        recipe: how it was built and is trained.
        validation: the images to predict.
        extra: what the header of the weights says besides.

    Raises:
        OutputError: a file cannot be written.
    """
    images, labels = validation.take()
    with trainer.averaged() as network:
        save_model(folder / weights_name(trainer.epoch), network, recipe=recipe, extra=extra)
        probs = np.asarray(network.predict_proba(cast(Any, images)), np.float32)
    with atomic_write(folder / probs_name(trainer.epoch)) as file:
        np.savez(file, allow_pickle=False, probs=probs, labels=labels, indices=validation.indices)


def snapshot_files(folder: Path) -> dict[str, int]:
    """Returns the files of a trial's snapshots and the epochs that they are of."""
    found = {path.name: _NAME.fullmatch(path.name) for path in folder.glob("snapshot-*.npz")}
    return {name: int(match[1]) for name, match in sorted(found.items()) if match}


def recorded(folder: Path, trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Returns what a trial that ends remembers of its snapshots: by the epoch, the digest and the validation loss."""
    epochs = {epoch for epoch in snapshot_files(folder).values() if epoch <= len(trainer.history)}
    return {
        str(epoch): {"sha256": sha256_file(folder / weights_name(epoch)), "val_loss": loss}
        for epoch in sorted(epochs)
        if (folder / weights_name(epoch)).exists() and (loss := trainer.history[epoch - 1].val_loss) is not None
    }


def remove(folder: Path) -> None:
    """Removes the snapshots of a trial that will be no member."""
    for name in snapshot_files(folder):
        (folder / name).unlink(missing_ok=True)
