"""The trials that an ensemble is made of, and their networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mnistnn.checkpoint import load_model
from mnistnn.errors import CheckpointError
from mnistnn.files import sha256_file
from mnistnn.network import Network
from sweeps.errors import StudyError
from sweeps.paths import StudyPaths
from sweeps.study.snapshots import SNAPSHOTS, weights_name
from sweeps.tracking.cleaned import was_cleaned
from sweeps.tracking.cursor import run_id_of

__all__ = [
    "BLOCK",
    "FINAL",
    "STAGES",
    "Member",
    "Trial",
    "best_members",
    "finished_trials",
    "in_order",
    "load_network",
    "member_of",
    "refuse_cleaned",
    "remedy",
    "shown",
    "snapshots_of",
]

#: The images that a member predicts at once: enough for the matrix products, few enough for the caches.
BLOCK = 64

#: The user attribute of a trial of the final stage: which architecture it trains again, and without which images.
FINAL = "final"
#: Where members come from: "auto" takes the final stage's, if it has any.
STAGES = ("auto", "search", "final")


class Trial(Protocol):
    """What is read of Optuna's FrozenTrial."""

    user_attrs: dict[str, Any]

    @property
    def state(self) -> Any:
        """Its TrialState."""


@dataclass(frozen=True, slots=True)
class Member:
    """A finished trial, or a model from outside.

    Attributes:
        number: the trial's; of its first attempt, whose folder and MLflow run a later one keeps.
        label: its architecture in a few words.
        weights_sha256: the digest of its weights, as the trial recorded it.
        val_loss: its validation loss, by which members are chosen.
        run_id: its MLflow run, or None while it was not delivered.
        calibrated_loss: its loss after a temperature of its own, by which members are ranked; None in old records.
        study: the name of the study whose trial it is; "" for that of the ensemble itself.
        epoch: that of a snapshot of the trial; None for what it ended with.
        outside: the name of a model from outside, whose `number` is its place among those; "" for a trial.
    """

    number: int
    label: str
    weights_sha256: str
    val_loss: float
    run_id: str | None = None
    calibrated_loss: float | None = None
    study: str = ""
    epoch: int | None = None
    outside: str = ""

    @property
    def name(self) -> str:
        """How it is shown: #017; #017@4 after epoch 4; night#017 of another study; +torch for a model from outside."""
        at = "" if self.epoch is None else f"@{self.epoch}"
        return f"+{self.outside}" if self.outside else f"{self.study}#{self.number:03d}{at}"

    @property
    def file_name(self) -> str:
        """The name of its weights among those of a registered model."""
        at = "" if self.epoch is None else f"-{self.epoch}"
        return f"{self.study}{'-' if self.study else ''}{self.number:05d}{at}.npz"

    @property
    def is_own(self) -> bool:
        """Whether it is a trial of the ensemble's own study."""
        return not (self.study or self.outside)

    def weights(self, paths: StudyPaths) -> Path:
        """Returns the file of its weights, given the paths of the study that owns the ensemble."""
        return self.folder(paths) / ("weights.npz" if self.epoch is None else weights_name(self.epoch))

    def folder(self, paths: StudyPaths) -> Path:
        """Returns the trial's folder, given the paths of the study that owns the ensemble."""
        own = StudyPaths(paths.folder.with_name(self.study)) if self.study else paths
        return own.trial(self.number)


def finished_trials(trials: Mapping[int, Trial]) -> dict[int, Trial]:
    """Returns the trials that ended with weights, and with a validation loss or predictions that can be ranked."""
    return {number: trial for number, trial in trials.items() if _is_finished(trial)}


def _is_finished(trial: Trial) -> bool:
    loss = trial.user_attrs.get("val_loss")
    has_loss = isinstance(loss, int | float) and math.isfinite(loss)
    return trial.state.name == "COMPLETE" and (has_loss or FINAL in trial.user_attrs)


def best_members(
    name: str,
    finished: Mapping[int, Trial],
    paths: StudyPaths,
    *,
    top: int | None,
    default: int,
    losses: Mapping[int, float] | None = None,
    by_network: bool = False,
) -> list[Member]:
    """Chooses the finished trials with the least loss.

    Args:
        name: the study's.
        finished: its finished trials, by the number under which each began.
        paths: the study's paths.
        top: how many are asked for; more than there are is an error.
        default: how many to take where none are asked for, or fewer if there are fewer.
        losses: those to rank by, where they are known; else it is the validation loss that a trial recorded.
        by_network: as `in_order` takes it.

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
    known = losses or {}
    members = [
        replace(member_of(number, trial, paths), calibrated_loss=known.get(number))
        for number, trial in finished.items()
    ]
    return in_order(members, by_network=by_network)[: top or default]


def snapshots_of(member: Member, trial: Trial) -> list[Member]:
    """Returns the snapshots that a trial has left on its way, as members; not the one that it ended with."""
    known = trial.user_attrs.get(SNAPSHOTS) or {}
    return [
        replace(
            member, epoch=int(epoch), weights_sha256=str(each["sha256"]), val_loss=float(each["val_loss"]), run_id=None
        )
        for epoch, each in known.items()
        if int(epoch) != trial.user_attrs.get("best_epoch")
    ]


def in_order(members: Iterable[Member], *, by_network: bool = False) -> list[Member]:
    """Sorts members by their losses, the best first.

    Args:
        members: to be sorted.
        by_network: whether each was judged by images of its own, as members of a final stage are. One tenth of all
            images is harder than another by more than two seeds of one network differ. So networks are compared first,
            by the mean over their members, who have several tenths together; of one network's members the own losses
            decide, for want of better ones.
    """
    every = list(members)
    pooled: dict[str, list[float]] = {}
    for member in every:
        if by_network and math.isfinite(loss := _loss_of(member)):
            pooled.setdefault(member.label, []).append(loss)

    def rank(member: Member) -> tuple[float, float, str, int, int]:
        own = _loss_of(member)
        known = pooled.get(member.label)
        first = own if known is None else math.fsum(known) / len(known)
        return first, own, member.study, member.number, member.epoch or 0

    return sorted(every, key=rank)


def _loss_of(member: Member) -> float:
    """Returns a member's loss after a temperature of its own, or else as it recorded it; infinite where it has none."""
    loss = member.val_loss if member.calibrated_loss is None else member.calibrated_loss
    return math.inf if math.isnan(loss) else loss


def member_of(number: int, trial: Trial, paths: StudyPaths) -> Member:
    """Returns a finished trial as a member, with what it recorded of itself."""
    attrs = trial.user_attrs
    return Member(
        number=number,
        label=str(attrs.get("label", "")),
        weights_sha256=str(attrs.get("weights_sha256", "")),
        val_loss=float(attrs.get("val_loss", math.nan)),
        run_id=run_id_of(paths.trial(number)),
    )


def load_network(member: Member, paths: StudyPaths, *, batch_size: int = BLOCK) -> Network:
    """Builds the member's network with the weights that the trial ended with.

    Args:
        member: whose.
        paths: the study's paths.
        batch_size: the images that it shall predict at once, for which it takes memory.

    Raises:
        CheckpointError: the weights are missing, damaged, or not those that the trial recorded.
    """
    if member.outside:
        raise CheckpointError(
            f"a network must be there to answer for new images, but {member.name} came from outside without one; build "
            "an ensemble without --add for that."
        )
    path = member.weights(paths)
    try:
        digest = sha256_file(path)
    except OSError as error:
        refuse_cleaned(member, path)
        raise CheckpointError(
            f"trial {member.number} must have its weights, but {shown(path)} is not readable "
            f"({error.strerror}); {remedy(member, path)}."
        ) from error
    if digest != member.weights_sha256:
        raise CheckpointError(
            f"the weights of trial {member.number} must be those it ended with (sha256 {member.weights_sha256[:12]}…), "
            f"but {shown(path)} has {digest[:12]}…; {remedy(member, path)}."
        )
    return load_model(path, batch_size=batch_size)


def refuse_cleaned(member: Member, path: Path) -> None:
    """Raises a CheckpointError if a file is missing because `clean` freed it."""
    if was_cleaned(path.parent, path.name):
        raise CheckpointError(
            f"trial {member.number} must have its {path.name}, but was cleaned; {remedy(member, path)}."
        )


def remedy(member: Member, path: Path) -> str:
    """Returns what makes a file of a trial again."""
    return f"`replay {path.parents[2].name} {member.number} --keep` makes it again"


def shown(path: Path) -> str:
    """Returns a file of a trial as it is named to people, who need not read where the project lies."""
    return "/".join(path.parts[-3:])  # trials/00017/weights.npz
