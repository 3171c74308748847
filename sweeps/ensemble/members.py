"""The trials that an ensemble is made of, and what they left in their folders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mnistnn.checkpoint import load_model
from mnistnn.errors import CheckpointError
from mnistnn.files import sha256_file
from mnistnn.network import Network
from mnistnn.npz import read_arrays
from mnistnn.types import Floats, Ints
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.tracking.cleaned import was_cleaned
from sweeps.tracking.cursor import run_id_of

__all__ = [
    "BLOCK",
    "Member",
    "Trial",
    "are_probs",
    "best_members",
    "finished_trials",
    "load_network",
    "load_predictions",
    "load_val_probs",
    "member_of",
]

#: The images that a member predicts at once: enough for the matrix products, few enough for the caches.
BLOCK = 64

_CLASSES = 10


class Trial(Protocol):
    """What is read of Optuna's FrozenTrial."""

    user_attrs: dict[str, Any]

    @property
    def state(self) -> Any:
        """Its TrialState."""


@dataclass(frozen=True, slots=True)
class Member:
    """A finished trial.

    Attributes:
        number: the trial's; of its first attempt, whose folder and MLflow run a later one keeps.
        label: its architecture in a few words.
        weights_sha256: the digest of its weights, as the trial recorded it.
        val_loss: its validation loss, by which members are chosen.
        run_id: its MLflow run, or None while it was not delivered.
    """

    number: int
    label: str
    weights_sha256: str
    val_loss: float
    run_id: str | None = None


def finished_trials(trials: Mapping[int, Trial]) -> dict[int, Trial]:
    """Returns the trials that ended with weights and with a validation loss that can be ranked."""
    return {number: trial for number, trial in trials.items() if _is_finished(trial)}


def _is_finished(trial: Trial) -> bool:
    loss = trial.user_attrs.get("val_loss")
    return trial.state.name == "COMPLETE" and isinstance(loss, int | float) and math.isfinite(loss)


def best_members(
    name: str, finished: Mapping[int, Trial], paths: StudyPaths, *, top: int | None, default: int
) -> list[Member]:
    """Chooses the finished trials with the least validation loss.

    Args:
        name: the study's.
        finished: its finished trials, by the number under which each began.
        paths: the study's paths.
        top: how many are asked for; more than there are is an error.
        default: how many to take where none are asked for, or fewer if there are fewer.

    Returns:
        The members, the best first.

    Raises:
        StudyError: none finished, or fewer than asked for.
    """
    if top is not None and top < 1:
        raise StudyError(f"`top >= 1` must hold, but got {top}.")
    if not finished:
        raise StudyError(
            f"an ensemble needs a finished trial, but study {name!r} has none yet; `run {name}`, or longer, first."
        )
    if top is not None and top > len(finished):
        plural = "trial" if len(finished) == 1 else "trials"
        raise StudyError(
            f"`--top` must not exceed the finished trials, but got {top} and study {name!r} has {len(finished)} "
            f"finished {plural}; ask for {len(finished)} or run it longer."
        )
    ranked = sorted(finished.items(), key=lambda item: (item[1].user_attrs["val_loss"], item[0]))
    return [member_of(number, trial, paths) for number, trial in ranked[: top or default]]


def member_of(number: int, trial: Trial, paths: StudyPaths) -> Member:
    """Returns a finished trial as a member, with what it recorded of itself."""
    attrs = trial.user_attrs
    return Member(
        number=number,
        label=str(attrs.get("label", "")),
        weights_sha256=str(attrs.get("weights_sha256", "")),
        val_loss=float(attrs["val_loss"]),
        run_id=run_id_of(paths.trial(number)),
    )


def load_val_probs(member: Member, paths: StudyPaths, labels: Ints) -> Floats:
    """Returns what the trial predicted for the validation images when it ended; nothing is computed again.

    Args:
        member: whose.
        paths: the study's paths.
        labels: the validation labels, which must be those that the trial stored beside its predictions.

    Shape:
        labels: (N,) → (N, 10) float32

    Raises:
        CheckpointError: the file is missing or damaged, or belongs to other validation images.
    """
    probs, stored = load_predictions(member, paths)
    if stored.shape != labels.shape or not np.array_equal(stored, labels):
        raise CheckpointError(
            f"members must have predicted this study's {len(labels)} validation images, but "
            f"{_shown(_predictions(member, paths))} belongs to others; name the data set that the study was run on."
        )
    return probs


def load_predictions(member: Member, paths: StudyPaths) -> tuple[Floats, Ints]:
    """Returns what the trial predicted for the validation images when it ended, and their labels as it stored them.

    Args:
        member: whose.
        paths: the study's paths.

    Shape:
        → (N, 10) float32, (N,)

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = _predictions(member, paths)
    shown = _shown(path)
    try:
        arrays = read_arrays(path, ("probs", "labels"))
        probs, stored = arrays["probs"], arrays["labels"]
    except FileNotFoundError:
        _refuse_cleaned(member, path)
        raise CheckpointError(
            f"trial {member.number} must have its validation predictions, but {shown} is missing; "
            f"{_remedy(member, path)}."
        ) from None
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"a file of predictions must be a whole .npz, but {shown} is damaged ({reason}); {_remedy(member, path)}."
        ) from error
    if stored.ndim != 1 or stored.dtype.kind not in "iu" or not len(stored) or not are_probs(probs, len(stored)):
        raise CheckpointError(
            f"predictions must be {_CLASSES} probabilities an image, but {shown} holds others; {_remedy(member, path)}."
        )
    return np.asarray(probs, np.float32), stored


def _predictions(member: Member, paths: StudyPaths) -> Path:
    return paths.trial(member.number) / "val_probs.npz"


def load_network(member: Member, paths: StudyPaths, *, batch_size: int = BLOCK) -> Network:
    """Builds the member's network with the weights that the trial ended with.

    Args:
        member: whose.
        paths: the study's paths.
        batch_size: the images that it shall predict at once, for which it takes memory.

    Raises:
        CheckpointError: the weights are missing, damaged, or not those that the trial recorded.
    """
    path = paths.trial(member.number) / "weights.npz"
    try:
        digest = sha256_file(path)
    except OSError as error:
        _refuse_cleaned(member, path)
        raise CheckpointError(
            f"trial {member.number} must have its weights, but {_shown(path)} is not readable "
            f"({error.strerror}); {_remedy(member, path)}."
        ) from error
    if digest != member.weights_sha256:
        raise CheckpointError(
            f"the weights of trial {member.number} must be those it ended with (sha256 {member.weights_sha256[:12]}…), "
            f"but {_shown(path)} has {digest[:12]}…; {_remedy(member, path)}."
        )
    return load_model(path, batch_size=batch_size)


def _refuse_cleaned(member: Member, path: Path) -> None:
    """Raises a CheckpointError if a file is missing because `clean` freed it."""
    if was_cleaned(path.parent, path.name):
        raise CheckpointError(
            f"trial {member.number} must have its {path.name}, but was cleaned; {_remedy(member, path)}."
        )


def _remedy(member: Member, path: Path) -> str:
    return f"`replay {path.parents[2].name} {member.number} --keep` makes it again"


def are_probs(probs: NDArray[Any], count: int) -> bool:
    """Says whether an array holds ten probabilities for each of `count` images."""
    if probs.shape != (count, _CLASSES) or probs.dtype.kind != "f":
        return False
    sums = probs.sum(axis=1, dtype=np.float64)
    return bool(np.isfinite(sums).all() and probs.min() >= 0 and np.abs(sums - 1).max() < 1e-3)


def _shown(path: Path) -> str:
    return "/".join(path.parts[-3:])  # trials/00017/weights.npz
