"""What is kept of one training: its folder's files, and what it came to."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistnn.checkpoint import save_model
from mnistnn.errors import OutputError
from mnistnn.files import atomic_write
from mnistnn.recipe import Recipe
from mnistnn.training import Trainer
from sweeps.errors import ConfigError
from sweeps.single.curves import draw_curves
from sweeps.single.models import NAME
from sweeps.study.results import write_history
from sweeps.tracking.store import TRAIN_EXPERIMENT

__all__ = ["FILES", "Trained", "check_name", "claim_folder", "keep"]

FILES = ("weights.npz", "recipe.json", "history.csv", "curves.png")
"""What `keep` writes, besides the events that are there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training came to. The test figures are None unless the test images were opened."""

    name: str
    folder: str
    preset: str
    seed: int
    epochs: int
    best_epoch: int
    val_loss: float
    val_accuracy: float
    seconds_per_epoch: float
    params: int
    macs: int
    weights_sha256: str
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_openings: int | None = None
    run_id: str | None = None

    def text(self) -> str:
        """Returns a few lines for people."""
        lines = [
            f"best epoch {self.best_epoch} of {self.epochs}: val_loss {self.val_loss:.4f}, "
            f"val_accuracy {self.val_accuracy:.4f}; {self.seconds_per_epoch:.1f} s/epoch"
        ]
        if self.test_accuracy is not None:
            times = "once" if self.test_openings == 1 else f"{self.test_openings} times"
            opened = f"the test images were opened {times} so far"
            lines.append(f"test accuracy {self.test_accuracy:.4f}, loss {self.test_loss:.4f}; {opened}")
        lines.append(f"saved in {self.folder}/; ask it with `predict IMAGE --model {self.name}`")
        if self.run_id is not None:
            lines.append(f"tracked in MLflow's experiment {TRAIN_EXPERIMENT} as {self.name}, run {self.run_id}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return asdict(self)


def check_name(parent: Path, name: str | None) -> None:
    """Checks that a new net may be called `name`, before anything is done for it.

    Raises:
        ConfigError: the name is not legal, or taken: what was trained before stays as it is.
    """
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(f"--name must be letters, digits, `.`, `_` and `-`, at most 100, but got {name!r:.60}.")
    if name is not None and (parent / name).exists():
        raise ConfigError(f"--name must be new, but {name!r} is in {parent} already; choose another name.")


def claim_folder(parent: Path, name: str | None, preset_name: str) -> Path:
    """Makes the folder of a new net: called `name`, or as the preset with the first free number.

    Raises:
        ConfigError: the name is not legal, or taken, if only just now.
        OutputError: the folder cannot be made.
    """
    numbered = (f"{preset_name}-{number}" for number in itertools.count(1))
    for candidate in numbered if name is None else [name]:
        check_name(parent, name)
        folder = parent / candidate
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"a net needs its folder, but {folder} cannot be made ({error.strerror}).") from error
        return folder
    raise ConfigError(f"--name must be new, but {name!r} was taken in {parent} just now; choose another name.")


def keep(folder: Path, root: Path, trainer: Trainer, recipe: Recipe, origin: Mapping[str, Any]) -> Trained:
    """Writes `FILES` from a training whose best epoch is restored.

    Args:
        folder: the net's folder.
        root: the project's folder.
        trainer: the training.
        recipe: what it was made from.
        origin: the preset, the seed and what it began from.

    Raises:
        OutputError: a file cannot be written.
    """
    best, history = trainer.best_metrics, trainer.history
    if best is None or best.val_loss is None or best.val_accuracy is None:
        raise RuntimeError("a training ends with a validated epoch")
    digest = save_model(folder / "weights.npz", trainer.network, recipe=recipe, extra=origin)
    with atomic_write(folder / "recipe.json", "w") as file:
        json.dump({**recipe.to_dict(), **origin}, file, indent=2)
        file.write("\n")
    write_history(folder, history)
    with atomic_write(folder / "curves.png") as file:
        draw_curves(history, folder.name, file)
    return Trained(
        name=folder.name,
        folder=str(folder.relative_to(root) if folder.is_relative_to(root) else folder),
        preset=origin["preset"],
        seed=origin["seed"],
        epochs=len(history),
        best_epoch=best.epoch,
        val_loss=best.val_loss,
        val_accuracy=best.val_accuracy,
        seconds_per_epoch=sum(metrics.seconds for metrics in history) / len(history),
        params=trainer.network.param_count,
        macs=trainer.network.macs,
        weights_sha256=digest,
    )
