"""What a fused layer asks of a convolution: a few images at a time, so that its arrays stay in a core's own cache."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["ChunkConv"]


class ChunkConv(ABC):
    """A convolution of up to `chunk` images, without its bias.

    The maps of a chunk lie in an order of its own. Where their number of rows is odd, a row of nothing may follow.

    Args:
        conv: whose shapes these are, and whether an input gradient is owed.
        context: gives the buffers.
        used: the rows and columns of the maps that anybody looks at, from the first on.

    Attributes:
        used: as given, or more.
        chunk: the most images at a time.
        map_size: the numbers that one image's maps take.
    """

    used: Shape
    chunk: int
    map_size: int

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape) -> None:
        self.used = used
        self._filters = conv.out_shape[2]

    def rows_of(self, maps: Floats) -> Floats:
        """Returns the maps, whole rows at a time, in any order. Shape: (n · map_size,) → (rows · n, W' · filters)."""
        rows, columns = self.used
        row = columns * self._filters
        return maps[: rows * (maps.size // self.map_size) * row].reshape(-1, row)

    @abstractmethod
    def set_weight(self, weight: Floats) -> None:
        """Takes the weights of the forward passes to come. Shape: (k, k, C, filters)."""

    @abstractmethod
    def forward(self, x: Floats, maps: Floats) -> None:
        """Writes the maps of a chunk. Shape: x: (n, H, W, C); maps: (n · map_size,)."""

    @abstractmethod
    def corners(self, maps: Floats) -> list[Floats]:
        """Returns the four corners of all squares, in reading order. Shape: each (rows // 2, n, W' // 2, filters)."""

    @abstractmethod
    def even_odd(self, maps: Floats) -> tuple[Floats, Floats]:
        """Returns the even rows and the odd ones. Shape: each (rows, n, W', filters)."""

    @abstractmethod
    def gradient_maps(self, n: int) -> Floats:
        """Returns memory for the gradient by the maps of n images, in their own order. Shape: (n · map_size,)."""

    @abstractmethod
    def take_gradient(self, n: int) -> None:
        """Takes what was written to `gradient_maps`, for the two methods below."""

    @abstractmethod
    def add_weight_gradient(self, x: Floats) -> None:
        """Adds a chunk's part of the weights' gradient to what `weight_gradient` writes. Shape: x: (n, H, W, C)."""

    @abstractmethod
    def weight_gradient(self, grad: Floats) -> None:
        """Writes what was added since the last call. Shape: grad: (k, k, C, filters)."""

    @abstractmethod
    def set_turned_weight(self, weight: Floats) -> None:
        """Takes the weights of the input gradients to come, as they are. Shape: (k, k, C, filters)."""

    @abstractmethod
    def input_gradient(self, dx: Floats) -> None:
        """Writes the gradient by a chunk's input. Shape: dx: (n, H, W, C)."""
