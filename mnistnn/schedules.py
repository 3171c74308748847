"""How the learning rate changes over a training: a factor for each step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

from mnistnn.domains import FloatRange, IntRange
from mnistnn.registry import schedule
from mnistnn.spec import Spec, later

__all__ = ["Constant", "Cosine", "OneCycle", "ScheduleSpec", "Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec(Spec, ABC):
    """A schedule. It is a pure function of the step, so a training that resumes needs no state of it."""

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """Returns what multiplies the optimizer's `learning_rate`.

        Args:
            step: from 0 to total_steps - 1.
            total_steps: those of the whole training.
        """

    def cycle_ends(self, epochs: int) -> tuple[int, ...]:
        """Returns the epochs after which a cycle has run out, the last one among them.

        Where the learning rate rises again within an epoch, it is the one before.

        Args:
            epochs: those of the whole training.
        """
        return (epochs,)


@schedule("constant")
@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(ScheduleSpec):
    """The learning rate as it is."""

    def factor(self, step: int, total_steps: int) -> float:
        """Returns 1."""
        return 1.0


@schedule("step")
@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ScheduleSpec):
    """Multiply by `gamma`, `drops` times, which part the training into equal stretches."""

    drops: Annotated[int, IntRange(1, 20)] = 2
    gamma: Annotated[float, FloatRange(0.01, 1.0)] = 0.1

    def factor(self, step: int, total_steps: int) -> float:
        """Returns gamma to the power of the drops so far."""
        return float(self.gamma ** (step * (self.drops + 1) // total_steps))


@schedule("cosine")
@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine(ScheduleSpec):
    """Fall along half a cosine from 1 to `end`, `cycles` times, each time over an equal part of the training.

    In the first part `warmup` of the first cycle the factor rises to 1 along a line; the cosine has the rest of it.
    Source: Loshchilov and Hutter 2017, "SGDR"; definitions as PyTorch's `CosineAnnealingWarmRestarts` and `LinearLR`.
    """

    end: Annotated[float, FloatRange(0.0, 1.0)] = 0.0
    warmup: Annotated[float, FloatRange(0.0, 0.9)] = later(0.0)
    cycles: Annotated[int, IntRange(1, 20)] = later(1)

    def factor(self, step: int, total_steps: int) -> float:
        """Returns the height at `step`; `end` itself would be that of the step after a cycle's last."""
        cycle, done = divmod(step * self.cycles, total_steps)
        part, begun = done / total_steps, 0.0  # of the cycle
        if cycle == 0:
            begun = self.warmup
            if part < begun:  # rises with each step, from the first on, to 1 in the last of these
                return min(1.0, (part + self.cycles / total_steps) / begun)
        return _anneal(1.0, self.end, (part - begun) / (1 - begun))

    def cycle_ends(self, epochs: int) -> tuple[int, ...]:
        """Returns the last whole epoch of each cycle; see `ScheduleSpec.cycle_ends`."""
        ends = dict.fromkeys(epochs * cycle // self.cycles for cycle in range(1, self.cycles + 1))
        return tuple(epoch for epoch in ends if epoch)


@schedule("one_cycle")
@dataclass(frozen=True, slots=True, kw_only=True)
class OneCycle(ScheduleSpec):
    """Rise from 1 / start_divisor to 1 in the first part `warmup`, then fall to 1 / (start_divisor · end_divisor).

    Both along half a cosine. Source: Smith and Topin 2018; definition as PyTorch's `OneCycleLR` (momentum is not
    cycled), with `learning_rate` for its `max_lr`.
    """

    warmup: Annotated[float, FloatRange(0.0, 1.0)] = 0.3
    start_divisor: Annotated[float, FloatRange(1.0, 1e4, log=True)] = 25.0
    end_divisor: Annotated[float, FloatRange(1.0, 1e8, log=True)] = 1e4

    def factor(self, step: int, total_steps: int) -> float:
        """Returns the height of the cycle at `step`; its last is that of the last step."""
        peak, last = max(0.0, self.warmup * total_steps - 1), total_steps - 1
        start = 1 / self.start_divisor
        if step < peak:
            return _anneal(start, 1.0, step / peak)
        if last <= peak:
            return 1.0
        return _anneal(1.0, start / self.end_divisor, (step - peak) / (last - peak))


def _anneal(start: float, end: float, part: float) -> float:
    """Goes from `start` to `end` along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))
