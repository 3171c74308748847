"""The checkpoints in a trial's folder: the last one, the one before it, and the state that the trial ended in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from mnistnn.checkpoint import load_checkpoint, save_checkpoint
from mnistnn.errors import CheckpointError
from mnistnn.training import Trainer

__all__ = ["CHECKPOINT", "FINAL", "PREVIOUS", "keep_last", "remove", "resume", "save"]

CHECKPOINT = "checkpoint.npz"
#: The epoch before, in case the disk gives back the last one damaged.
PREVIOUS = "checkpoint.previous.npz"
#: The last state of a trial that has ended: what a longer training begins with.
FINAL = "final.npz"


def save(folder: Path, trainer: Trainer) -> None:
    """Writes the checkpoint of an epoch; at every moment there is a whole one.

    Raises:
        OutputError: it cannot be written. The one before is still there.
    """
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / CHECKPOINT, folder / PREVIOUS)
    save_checkpoint(folder / CHECKPOINT, trainer)


def resume(
    folder: Path, fresh: Callable[[], Trainer], say: Callable[[str], object], *, any_plan: bool = False
) -> Trainer:
    """Returns the training as the newest whole checkpoint in `folder` left it, or a fresh one.

    Args:
        folder: the trial's folder.
        fresh: builds the training as it begins.
        say: takes a line about a checkpoint that is damaged.
        any_plan: whether it may be of a training laid out for another number of epochs.
    """
    trainer = fresh()
    for name in (CHECKPOINT, PREVIOUS):
        path = folder / name
        if path.exists():
            try:
                load_checkpoint(path, trainer, any_plan=any_plan)
            except CheckpointError as error:
                say(f"a checkpoint is passed over: {error}")
            else:
                if name == PREVIOUS:  # what is damaged gives way: the next `save` must not move it over the whole one
                    os.replace(path, folder / CHECKPOINT)
                return trainer
    return trainer


def keep_last(folder: Path) -> None:
    """Removes the checkpoints of a trial that has ended but for its last state, which stays as `final.npz`."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / CHECKPOINT, folder / FINAL)
    (folder / PREVIOUS).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Removes the checkpoints of a trial that will not be gone on with."""
    for name in (CHECKPOINT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
