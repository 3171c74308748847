"""The sections of a study's file, but for what is fixed and searched."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mnistnn.epochs import MONITORS
from sweeps.config.duration import parse_duration, parse_part, part_s

__all__ = [
    "DIRECTIONS",
    "Budget",
    "Ensemble",
    "Final",
    "Hyperband",
    "Limits",
    "Median",
    "Metric",
    "NoPruner",
    "Pruner",
    "Sampler",
    "Section",
    "Study",
    "SuccessiveHalving",
]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
"""Names become folders and addresses: nothing in them may mean anything to either."""

Metric: TypeAlias = Literal["val_loss", "val_accuracy", "val_calibrated_loss"]
"""What trials are judged by: of their best epochs, on the validation images."""

DIRECTIONS = {name: "maximize" if is_more_better else "minimize" for name, is_more_better in MONITORS.items()}
"""Which way each metric gets better."""


def _whole(value: object) -> object:
    """Lets a count be written as 3e6."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _part(value: object) -> object:
    return None if value is None else parse_part(str(value))


# No more than a database, or a line of JSON, can hold: beyond that nothing is meant.
Count = Annotated[int, Field(ge=1, le=10**9)]
CountFrom0 = Annotated[int, Field(ge=0, le=10**9)]
LargeCount = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=10**15)]


class Section(BaseModel):
    """A table whose keys are all known, and of the right types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Study(Section):
    """What the study is called, and what it is about.

    With a `validation_shift` a trial is judged by the mean of its metric on the validation images and on the same
    images moved by up to so many pixels.
    """

    name: str = Field(pattern=NAME_PATTERN)
    metric: Metric = "val_loss"
    direction: Literal["minimize", "maximize"]
    seed: int = Field(default=0, ge=0, lt=1 << 63)
    baselines: list[str] = []
    validation_shift: int = Field(default=0, ge=0, le=8)

    @model_validator(mode="before")
    @classmethod
    def _direct(cls, values: Any) -> Any:
        """The metric says which way is better."""
        if isinstance(values, dict):
            return {"direction": DIRECTIONS.get(str(values.get("metric", "val_loss")), "minimize")} | values
        return values


class Budget(Section):
    """When a study is done. `epochs` are those of one trial."""

    trials: Count | None = None
    time_s: Annotated[float | None, BeforeValidator(_seconds), Field(alias="time")] = None
    epochs: int = Field(ge=1, le=1000)


class Sampler(Section):
    """How trials are proposed. TPE draws `startup_trials` at random before it models anything; arms are not drawn."""

    type: Literal["tpe", "random", "qmc", "grid", "arms"] = "tpe"
    startup_trials: Count = 10


class Median(Section):
    """Stop a trial whose best epoch so far is worse than the median of the others at the same epoch."""

    type: Literal["median"] = "median"
    startup_trials: CountFrom0 = 5
    warmup_epochs: CountFrom0 = 1
    interval_epochs: Count = 1
    min_trials: Count = 1


class SuccessiveHalving(Section):
    """Let the best 1 in `reduction_factor` go on at each rung, min_epochs and its multiples by that factor."""

    type: Literal["successive_halving"]
    min_epochs: Count = 1
    reduction_factor: int = Field(default=3, ge=2, le=1000)


class Hyperband(Section):
    """Successive halving with several first rungs side by side; wants many trials."""

    type: Literal["hyperband"]
    min_epochs: Count = 1
    reduction_factor: int = Field(default=3, ge=2, le=1000)


class NoPruner(Section):
    """Every trial runs to its last epoch."""

    type: Literal["none"]


Pruner = Annotated[Median | SuccessiveHalving | Hyperband | NoPruner, Field(discriminator="type")]


class Limits(Section):
    """What an architecture may cost: multiply-adds an image, trained numbers, and megabytes of a worker's memory."""

    macs: LargeCount | None = 10_000_000
    params: LargeCount | None = None
    memory_mb: LargeCount | None = 400


class Ensemble(Section):
    """Which trials are averaged; fewer than `top` if there are fewer.

    `snapshots` adds what they were at the ends of earlier cycles of a cosine: members that cost no training. `tta` is
    by how many pixels images are shifted for the views whose mean a member answers; 0 for the image alone.
    """

    top: Count = 5
    method: Literal["auto", "mean", "weighted", "greedy"] = "auto"
    snapshots: bool = False
    tta: int = Field(default=0, ge=0, le=4)


class Final(Section):
    """What follows the search: its best architectures, trained longer, each net on all images but a part of its own.

    `time` is a part of the budget's, which the search does without: seconds, or a share like "70%", which stays one, so
    that another budget gives the stage another time. `epochs` is what is aimed at, and fitted to the time that is left;
    `members` is the most, or, where the budget has no time, how many.
    """

    time: Annotated[float | str | None, BeforeValidator(_part)] = None
    top: Count = 3
    epochs: int = Field(default=14, ge=1, le=1000)
    folds: int = Field(default=10, ge=2, le=1000)
    members: Count | None = None

    def seconds_of(self, budget_s: float | None) -> float | None:
        """Returns the seconds that the stage has of the budget's; None where none of these are its own."""
        return None if self.time is None or budget_s is None else part_s(self.time, budget_s)
