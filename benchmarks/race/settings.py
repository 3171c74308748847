"""What is raced over: the net, its training, and the accuracy that counts; read from `settings.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistnn.errors import SpecError
from mnistnn.network import Network, NetworkSpec, child_seed
from mnistnn.optimizers.adam import Adam
from mnistnn.registry import optimizer, schedule
from mnistnn.schedules import ScheduleSpec

__all__ = ["SETTINGS", "Settings", "load_settings"]

SETTINGS = Path(__file__).with_name("settings.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A training that both sides can do.

    Attributes:
        network: must draw nothing while it trains (no dropout), or the two sides would not do the same.
        optimizer: Adam without weight decay, which PyTorch would apply to biases, too.
        schedule: scales the optimizer's learning rate from step to step.
        batch_size: the images of a step.
        steps: of the whole training.
        goal: the share of test images to get right.
    """

    network: NetworkSpec
    optimizer: Adam
    schedule: ScheduleSpec
    batch_size: int
    steps: int
    goal: float

    def __post_init__(self) -> None:
        if type(self.optimizer) is not Adam or self.optimizer.weight_decay:
            raise SpecError(f"a race must be run with Adam without weight decay, but got {self.optimizer!r}.")
        if self.steps < 1 or self.batch_size < 1:
            raise SpecError(f"steps and batch_size must be ≥ 1, but got {self.steps} and {self.batch_size}.")
        if drawing := Network(self.network, batch_size=1, initialise=False).rngs:
            raise SpecError(f"a race's layers must not draw while they train, but {', '.join(drawing)} do.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        return {
            "goal": self.goal,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "optimizer": optimizer.to_dict(self.optimizer),
            "schedule": schedule.to_dict(self.schedule),
            "network": self.network.to_dict(),
        }

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
    return Settings(
        network=NetworkSpec.from_dict(values.pop("network")),
        optimizer=optimizer.from_dict(values.pop("optimizer")),
        schedule=schedule.from_dict(values.pop("schedule")),
        **values,
    )
