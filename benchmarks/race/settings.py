"""What is raced over: the net, its training, and the accuracy that counts; read from `settings.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.architecture import Block, ConvNet
from mnistnn.errors import SpecError, nearest
from mnistnn.layers.batch_norm import BatchNormSpec
from mnistnn.network import Network, NetworkSpec, child_seed
from mnistnn.optimizers.adam import Adam
from mnistnn.registry import optimizer, schedule
from mnistnn.schedules import ScheduleSpec

__all__ = ["SETTINGS", "Net", "Settings", "changed", "load_settings"]

SETTINGS = Path(__file__).with_name("settings.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """A net that draws nothing while it trains: with dropout the two sides would not do the same.

    Attributes:
        filters: of each convolution, which a 2×2 max pool follows.
        kernels: their sides.
        dense_units: of the hidden dense layer; 0 for none.
        norm: whether a batch norm comes before each ReLU.
    """

    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    dense_units: int
    norm: bool
    padding: str = "valid"
    scaling: str = "unit"
    init_scale: float = 1.0

    @property
    def spec(self) -> NetworkSpec:
        """The layers."""
        return ConvNet(
            blocks=tuple(Block(filters=f, kernel=k) for f, k in zip(self.filters, self.kernels, strict=True)),
            padding=self.padding,
            norm=BatchNormSpec() if self.norm else None,
            dense_units=self.dense_units,
            scaling=self.scaling,
            init_scale=self.init_scale,
        ).network()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A training that both sides can do.

    Attributes:
        goal: the share of test images to get right.
        steps: of the whole training.
        batch_size: the images of a step.
        net: what is trained.
        optimizer: Adam without weight decay, which PyTorch would apply to biases, too.
        schedule: scales the optimizer's learning rate from step to step.
    """

    goal: float
    steps: int
    batch_size: int
    net: Net
    optimizer: Adam
    schedule: ScheduleSpec

    def __post_init__(self) -> None:
        if type(self.optimizer) is not Adam or self.optimizer.weight_decay:
            raise SpecError(f"a race must be run with Adam without weight decay, but got {self.optimizer!r}.")
        if self.steps < 1 or self.batch_size < 1:
            raise SpecError(f"steps and batch_size must be ≥ 1, but got {self.steps} and {self.batch_size}.")

    @property
    def network(self) -> NetworkSpec:
        """The layers of the net."""
        return self.net.spec

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        parts = {"optimizer": optimizer.to_dict(self.optimizer), "schedule": schedule.to_dict(self.schedule)}
        return {"goal": self.goal, "steps": self.steps, "batch_size": self.batch_size, "net": asdict(self.net)} | parts

    def rates(self) -> list[float]:
        """Returns the learning rate of each step."""
        peak = self.optimizer.learning_rate
        return [peak * self.schedule.factor(step, self.steps) for step in range(self.steps)]

    def first_network(self, seed: int, *, batch_size: int = 1) -> Network:
        """Returns the network with the weights that both sides begin from."""
        return Network(self.network, batch_size=batch_size, seed=child_seed(seed, 0))

    def order(self, images: int, seed: int) -> NDArray[np.int64]:
        """Returns which images are in which step's batch, on both sides.

        The images are gone through in a new order each time; a batch goes on into the next time.

        Shape: → (steps, batch_size)
        """
        rng = np.random.Generator(np.random.PCG64(child_seed(seed, 1)))
        shown = self.steps * self.batch_size
        passes = [rng.permutation(images) for _ in range(-(-shown // images))]
        return np.concatenate(passes)[:shown].reshape(self.steps, self.batch_size).astype(np.int64)


def load_settings(path: Path = SETTINGS) -> Settings:
    """Reads the settings.

    Raises:
        SpecError: they are not such that both sides can train by them.
    """
    try:
        with open(path, "rb") as file:
            values: dict[str, Any] = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise SpecError(f"a race's settings must be a TOML that can be read, but {path} is not: {error}") from error
    names = [field.name for field in fields(Settings)]
    if values.keys() != set(names):
        raise SpecError(f"a race's settings must be {', '.join(names)}, but {path} has {', '.join(values)}.")
    try:
        net = Net(**{name: _frozen(value) for name, value in values.pop("net").items()})
    except TypeError as error:
        raise SpecError(f"a race's net must be given by the fields of `Net`, but in {path} {error}.") from error
    return Settings(
        net=net,
        optimizer=optimizer.from_dict(values.pop("optimizer")),
        schedule=schedule.from_dict(values.pop("schedule")),
        **values,
    )


def changed(settings: Settings, change: str) -> Settings:
    """Returns the settings with what `change` says: "steps=200 learning_rate=0.01 filters=[24,32] norm=false".

    A name is one of the settings' own, or of the net's, the optimizer's or the schedule's.

    Raises:
        SpecError: there is no such name, or the value is not legal.
    """
    parts: dict[str, Any] = {"net": settings.net, "optimizer": settings.optimizer, "schedule": settings.schedule}
    own: dict[str, Any] = {}
    for assignment in change.split():
        name, _, text = assignment.partition("=")
        try:
            value = _frozen(tomllib.loads(f"value = {text}")["value"])
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"a change must be NAME=VALUE as TOML has it, but got {assignment!r}: {error}") from error
        if name in ("goal", "steps", "batch_size"):
            own[name] = value
            continue
        owners = [part for part, owner in parts.items() if name in _field_names(owner)]
        if not owners:
            known = ["steps", "batch_size", *(each for owner in parts.values() for each in _field_names(owner))]
            raise SpecError(f"a change must name what a race has, but got {name!r}; {nearest(name, known)}")
        parts[owners[0]] = replace(parts[owners[0]], **{name: value})
    return replace(settings, **own, **parts)


def _field_names(part: Any) -> list[str]:
    return [field.name for field in fields(part)]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
