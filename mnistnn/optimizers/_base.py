"""What every optimizer is: hyperparameters that do not change, state apart, and one pass over the flat vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeAlias

import numpy as np

from mnistnn.arena import Arena
from mnistnn.domains import FloatRange
from mnistnn.spec import Spec
from mnistnn.types import Floats

__all__ = ["BLOCK", "OptimizerSpec", "State", "blocks"]

State: TypeAlias = dict[str, Floats]
"""What an optimizer remembers from step to step: vectors as long as the params, by name. Checkpoints hold all of it."""

BLOCK: Final = 131072
"""The numbers worked on at a time. Nets of up to so many params are one block, for NumPy's calls cost 8 µs a block;
at three million, whose state no longer lies in the cache, Adam takes 8.8 ms in blocks and 9.7 in one pass (EPYC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSpec(Spec, ABC):
    """An optimizer: a new one gives `learning_rate` its range, names its `vectors` and writes `update`.

    Weight decay applies to the weights, `arena.params[:n_decay]`; biases and the params of norms are left alone. It is
    the gradient of an L2 penalty, weight_decay · params, added to the grads, where the optimizer says nothing else.
    """

    vectors: ClassVar[tuple[str, ...]] = ()

    learning_rate: float = 0.01
    weight_decay: Annotated[float, FloatRange(0.0, 0.1)] = 0.0

    def init(self, arena: Arena) -> State:
        """Returns the state before the first step: a zero for each param in each of `vectors`."""
        return {name: np.zeros_like(arena.params) for name in self.vectors}

    @abstractmethod
    def update(self, state: State, arena: Arena, *, learning_rate: float, step: int) -> None:
        """Takes one step, in place and without new memory.

        Args:
            state: what `init` returned; written.
            arena: `params` are written. `grads` are spent: they hold nothing of use afterwards.
            learning_rate: this step's, as a schedule gave it; the field of that name is not looked at.
            step: counts from 1.
        """


def blocks(arena: Arena, *vectors: Floats, l2: float = 0.0, shrink: float = 1.0) -> Iterator[tuple[Floats, ...]]:
    """Yields params, grads, each of `vectors` and a scratch vector, a block at a time, weights decayed already.

    The dozen passes of an update then run over numbers that are still in the cache from the pass before.

    Args:
        arena: gives params, grads and scratch.
        vectors: the optimizer's state, each as long as the params.
        l2: this times the weights is added to their grads.
        shrink: the weights are multiplied by this.
    """
    size = arena.params.size
    scratch = arena.scratch(min(BLOCK, size))
    for start in range(0, size, BLOCK):
        block = slice(start, min(start + BLOCK, size))
        params, grads, work = arena.params[block], arena.grads[block], scratch[: block.stop - start]
        decayed = max(0, arena.n_decay - start)  # weights come first
        if l2 and decayed:
            np.multiply(params[:decayed], l2, out=work[:decayed])
            np.add(grads[:decayed], work[:decayed], out=grads[:decayed])
        if shrink != 1 and decayed:
            np.multiply(params[:decayed], shrink, out=params[:decayed])
        yield params, grads, *(vector[block] for vector in vectors), work
