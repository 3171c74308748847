"""The memory of a network's numbers: one flat vector of params, one of grads, one of states, with named views."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnistnn.errors import SpecError
from mnistnn.types import Shape

__all__ = ["Arena", "Param"]


def _unbound() -> NDArray[Any]:
    return np.empty(0)


@dataclass(slots=True, eq=False)
class Param:
    """A named array of a layer; a view into the arena once that is allocated."""

    name: str
    shape: Shape
    value: NDArray[Any] = field(default_factory=_unbound, repr=False)
    grad: NDArray[Any] = field(default_factory=_unbound, repr=False)

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Arena:
    """Hands out params and states while a network is built, then lays each kind into one vector.

    An optimizer is thereby one pass over one vector, and a snapshot one copy. Params that weight decay applies to
    (weights) lie before those that it leaves alone (biases, norms): `params[:n_decay]` are the former.

    Args:
        dtype: float32 in work, float64 in gradient checks.
    """

    def __init__(self, dtype: DTypeLike = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self._decayed: list[Param] = []
        self._plain: list[Param] = []
        self._states: dict[Param, float] = {}
        self.params = self.grads = self.states = self._scratch = np.empty(0, self.dtype)
        self.n_decay = 0

    def param(self, name: str, shape: Shape, *, decay: bool) -> Param:
        """Reserves a trained array; `decay` says whether weight decay applies to it."""
        param = Param(self._unused(name), shape)
        (self._decayed if decay else self._plain).append(param)
        return param

    def state(self, name: str, shape: Shape, fill: float) -> Param:
        """Reserves an array that training changes without gradients, such as a running mean; it begins as `fill`."""
        state = Param(self._unused(name), shape)
        self._states[state] = fill
        return state

    def allocate(self) -> None:
        """Takes the memory and binds every param's `value` and `grad`, and every state's `value`."""
        self.n_decay = sum(param.size for param in self._decayed)
        self.params = self._bind([*self._decayed, *self._plain], "value")
        self.grads = self._bind([*self._decayed, *self._plain], "grad")
        self.states = self._bind(list(self._states), "value")
        self.reset_states()

    def reset_states(self) -> None:
        """Puts every state back to what it began as."""
        for state, fill in self._states.items():
            state.value[...] = fill

    def scratch(self, size: int) -> NDArray[Any]:
        """Returns a vector of `size` numbers to compute in; what it holds does not survive other callers."""
        if self._scratch.size < size:
            self._scratch = np.empty(size, self.dtype)
        return self._scratch[:size]

    def named(self) -> dict[str, Param]:
        """Returns all params and states by name, in the order of the vectors."""
        return {param.name: param for param in [*self._decayed, *self._plain, *self._states]}

    @property
    def nbytes(self) -> int:
        """The bytes of the three vectors and the scratch."""
        return sum(vector.nbytes for vector in (self.params, self.grads, self.states, self._scratch))

    def _bind(self, arrays: list[Param], attribute: str) -> NDArray[Any]:
        vector = np.zeros(sum(array.size for array in arrays), self.dtype)
        start = 0
        for array in arrays:
            setattr(array, attribute, vector[start : start + array.size].reshape(array.shape))
            start += array.size
        return vector

    def _unused(self, name: str) -> str:
        if name in self.named():
            raise SpecError(f"the name of a param must be its own, but {name!r} is taken.")
        return name
