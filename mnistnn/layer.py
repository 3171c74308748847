"""What every layer is built with, and what it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnistnn.arena import Arena, Param
from mnistnn.spec import Spec
from mnistnn.types import Floats, Shape

__all__ = ["BuildContext", "Layer", "LayerSpec", "Shortcut"]


class Shortcut:
    """The way round some layers: from the fork before them, which begins it, to the add behind them, which ends it.

    Args:
        shape: of the map that is forked.

    Attributes:
        shape: as given.
        x: the fork's last batch. Shape: (B, *shape)
        part: which of its images, rows and columns are added.
        dy: the gradient by that part, which the fork takes in; empty until an add ends the way. Shape: (max_batch, …)
    """

    __slots__ = ("dy", "part", "shape", "x")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.x: NDArray[Any] = np.empty((0, *shape))
        self.part: tuple[slice, ...] = ()
        self.dy: NDArray[Any] = np.empty(0)

    def added(self) -> Floats:
        """Returns what is added."""
        return self.x[self.part]

    def keep(self, dy: Floats) -> None:
        """Copies the gradient by what was added: the layers below write over theirs."""
        np.copyto(self.dy[: len(dy)], dy)


@dataclass(slots=True)
class BuildContext:
    """What a Spec needs to build its layer.

    Attributes:
        arena: where params and states are reserved; its dtype is that of all buffers.
        max_batch: the rows that every buffer is taken for.
        name: the layer's own name in the network, such as "conv1".
        seed: seeds the layer's own generator, if it draws while training.
        input_grad: whether `backward` owes the gradient of its input; False where nothing below has params.
        buffer_bytes: the bytes handed out so far, over all layers that share this context.
        workspace: memory to compute in, by name; what it holds does not survive the next layer's call.
        shortcuts: those that are not ended yet, the last one to begin at the end.
    """

    arena: Arena
    max_batch: int
    name: str = "layer"
    seed: np.random.SeedSequence = field(default_factory=lambda: np.random.SeedSequence(0))
    input_grad: bool = True
    buffer_bytes: int = 0
    workspace: dict[str, NDArray[Any]] = field(default_factory=dict)
    shortcuts: list[Shortcut] = field(default_factory=list)

    def buffer(self, shape: Shape, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Returns an uninitialised array of a full batch: (max_batch, *shape)."""
        return self.scratch((self.max_batch, *shape), dtype)

    def scratch(self, shape: Shape, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Returns an uninitialised array of just `shape`."""
        array = np.empty(shape, self.arena.dtype if dtype is None else dtype)
        self.buffer_bytes += array.nbytes
        return array

    def reserve(self, name: str, size: int, dtype: DTypeLike | None = None) -> None:
        """Makes `workspace[name]` a vector of at least `size`. Look it up when it is used: it may still grow."""
        known = self.workspace.get(name)
        if known is None or known.size < size:
            self.buffer_bytes -= 0 if known is None else known.nbytes
            self.workspace[name] = self.scratch((size,), dtype)

    def param(self, name: str, shape: Shape, *, decay: bool = False) -> Param:
        """Reserves a trained array under the layer's name."""
        return self.arena.param(f"{self.name}/{name}", shape, decay=decay)

    def state(self, name: str, shape: Shape, fill: float) -> Param:
        """Reserves an untrained array under the layer's name."""
        return self.arena.state(f"{self.name}/{name}", shape, fill)


class Layer(ABC):
    """A layer at work. What it returns is its own buffer, good until its next call.

    Attributes:
        in_shape: the shape of one input, without the batch.
        out_shape: the shape of one output.
        macs: multiply-adds of one image's forward pass.
        params: its trained arrays.
        rng: its own generator, for a layer that draws while training.
        momentum: the weight of a batch in its running statistics, if it keeps any; it may be set.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        self.in_shape = in_shape
        self.out_shape = out_shape
        self.macs = 0
        self.params: tuple[Param, ...] = ()
        self.rng: np.random.Generator | None = None
        self.momentum: float | None = None

    def initialise(self, rng: np.random.Generator) -> None:  # noqa: B027  # most layers have nothing to draw
        """Draws the params' first values into their views."""

    @abstractmethod
    def forward(self, x: Any, *, train: bool) -> Floats:
        """Computes the layer's output; never writes `x`.

        Shape:
            x: (B, *in_shape) with B ≤ max_batch → (B, *out_shape).
        """

    @abstractmethod
    def backward(self, dy: Floats) -> Floats:
        """Sets (does not add) the params' grads and returns the loss's gradient by the last training input.

        May overwrite `dy`. Where the context said that no input gradient is owed, what it returns means nothing.

        Shape:
            dy: (B, *out_shape) → (B, *in_shape).
        """


class LayerSpec(Spec, ABC):
    """A Spec that builds a layer."""

    __slots__ = ()

    @abstractmethod
    def build(self, in_shape: Shape, context: BuildContext) -> Layer:
        """Builds the layer for inputs of `in_shape`.

        Raises:
            SpecError: the layer cannot take such inputs.
        """
