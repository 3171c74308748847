"""A recipe: all that is needed to train a network again, but for the data and the seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnistnn.errors import SpecError
from mnistnn.network import NetworkSpec
from mnistnn.training import TrainingSpec

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how it is trained."""

    network: NetworkSpec
    training: TrainingSpec

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON and TOML can hold."""
        return {"network": self.network.to_dict(), "training": self.training.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Builds what `to_dict` wrote.

        Raises:
            SpecError: a part is missing or not legal.
        """
        for part in ("network", "training"):
            if not isinstance(values.get(part), Mapping):
                raise SpecError(f"a recipe must hold the tables `network` and `training`, but has no {part!r}.")
        return cls(NetworkSpec.from_dict(values["network"]), TrainingSpec.from_dict(values["training"]))
