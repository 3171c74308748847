"""AdamW: Adam whose weight decay does not pass through the running averages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.optimizers._base import blocks
from mnistnn.optimizers.adam import Adam
from mnistnn.registry import optimizer
from mnistnn.types import Floats

__all__ = ["AdamW"]


@optimizer("adamw")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW(Adam):
    """w ← (1 - lr · weight_decay) w for the weights, then Adam's step.

    Source: Loshchilov and Hutter 2019; definition as in PyTorch.
    """

    weight_decay: Annotated[float, FloatRange(0.0, 1.0)] = 0.01

    def _blocks(self, arena: Arena, *vectors: Floats, learning_rate: float) -> Iterator[tuple[Floats, ...]]:
        """Yields the blocks with the weights shrunk."""
        return blocks(arena, *vectors, shrink=1 - learning_rate * self.weight_decay)
