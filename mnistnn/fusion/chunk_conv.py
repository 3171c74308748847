"""What a fused layer asks of a convolution: a few images at a time, so that its arrays stay in a core's own cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from mnistnn.layer import BuildContext
from mnistnn.layers.conv2d import Conv2D
from mnistnn.types import Floats, Shape

__all__ = ["CHUNK_BYTES", "ChunkConv", "interleave"]

CHUNK_BYTES: Final = 1 << 21
"""What the largest array of a chunk takes: measured, from 256 kB to 4 MB, on nets of one to three blocks."""


class ChunkConv(ABC):
    """A convolution of up to `chunk` images, without its bias.

    The maps of a chunk lie as (2, pairs, n, W', filters), the even rows before the odd ones; where their number is odd,
    a row of nothing ends them. Where squares of four are asked for, and no row or column is left over, even and odd
    columns lie apart too, (2, pairs, 2, n, W' / 2, filters) but for the order of axes: every corner of all squares is
    one stretch of memory.

    Args:
        conv: whose shapes these are, and whether an input gradient is owed.
        context: gives the buffers.
        used: the rows and columns of the maps that anybody looks at, from the first on.
        squares: whether `corners` will be asked for.

    Attributes:
        used: as given.
        chunk: the most images at a time.
        map_size: the numbers that one image's maps take.
    """

    chunk: int
    _dmaps: Floats  # the gradient by the maps of a chunk, laid out as these; not where it is kept with a border

    def __init__(self, conv: Conv2D, context: BuildContext, used: Shape, *, squares: bool) -> None:
        self.used = rows, columns = used
        self._filters = conv.out_shape[2]
        self._pairs, self._in_pairs = -(-rows // 2), -(-conv.in_shape[0] // 2)
        self._apart = squares and rows % 2 == columns % 2 == 0
        self.map_size = 2 * self._pairs * columns * self._filters
        self._pad, self._dpad = conv.padding, conv.kernel - 1 - conv.padding
        self._max_batch = context.max_batch
        self._workspace = context.workspace

    def _even_parts(self, n: int) -> int:
        """Returns how many images to take at a time, `n` at most: of the largest batch no short part is left over.

        Where that would make them much smaller, the parts are as equal as can be.
        """
        batch, n = self._max_batch, max(1, min(n, self._max_batch))
        even = next(size for size in range(n, 0, -1) if batch % size == 0)
        return even if 2 * even >= n else -(-batch // -(-batch // n))

    def rows_of(self, maps: Floats) -> Floats:
        """Returns the maps, whole rows at a time, in any order. Shape: (n · map_size,) → (rows · n, W' · filters)."""
        rows, columns = self.used
        row = columns * self._filters
        return maps[: rows * (maps.size // self.map_size) * row].reshape(-1, row)

    def corners(self, maps: Floats) -> list[Floats]:
        """Returns the four corners of all squares, in reading order. Shape: each (rows // 2, n, W' // 2, filters)."""
        rows, columns = (size // 2 for size in self.used)
        if self._apart:
            return list(maps.reshape(4, rows, -1, columns, self._filters))
        return [half[:rows, :, j : 2 * columns : 2] for half in self.even_odd(maps) for j in (0, 1)]

    def even_odd(self, maps: Floats) -> tuple[Floats, Floats]:
        """Returns the even rows and the odd ones; not where corners lie apart. Shape: each (rows, n, W', filters)."""
        rows, columns = self.used
        even, odd = maps.reshape(2, self._pairs, -1, columns, self._filters)
        return even, odd[: rows // 2]

    def _by_column(self, maps: Floats, rows: int) -> list[tuple[slice, Floats]]:
        """Returns which columns lie together, and these, a matrix each: `rows` of it, of one or more sets of rows.

        Shape:
            maps: (sets, …) → each (sets, columns, rows, filters)
        """
        sets, columns = len(maps), self.used[1]
        if not self._apart:
            maps = maps.reshape(sets, -1, columns, self._filters)[:, :rows]
            return [(slice(None), maps.transpose(0, 2, 1, 3))]
        maps = maps.reshape(sets, 2, -1, columns // 2, self._filters)[:, :, :rows]
        return [(slice(j, None, 2), maps[:, j].transpose(0, 2, 1, 3)) for j in (0, 1)]

    @abstractmethod
    def set_weight(self, weight: Floats) -> None:
        """Takes the weights of the forward passes to come. Shape: (k, k, C, filters)."""

    @abstractmethod
    def forward(self, x: Floats, maps: Floats, images: slice | None) -> None:
        """Writes the maps of a chunk.

        Args:
            x: (n, H, W, C).
            maps: (n · map_size,).
            images: which of the batch they are, if their part of the weights' gradient will be asked for.
        """

    def gradient_corners(self, n: int) -> list[Floats]:
        """Returns memory for the gradient by the maps of n images, as `corners` gives the maps."""
        return self.corners(self._dmaps[: n * self.map_size])

    def gradient_even_odd(self, n: int) -> tuple[Floats, Floats]:
        """Returns memory for the gradient by the maps of n images, as `even_odd` gives the maps."""
        return self.even_odd(self._dmaps[: n * self.map_size])

    @abstractmethod
    def add_weight_gradient(self, x: Floats, images: slice) -> None:
        """Adds a chunk's part, by what was written to the gradient's memory. Shape: x: (n, H, W, C)."""

    @abstractmethod
    def weight_gradient(self, grad: Floats) -> None:
        """Writes what was added since the last call. Shape: grad: (k, k, C, filters)."""

    @abstractmethod
    def set_turned_weight(self, weight: Floats) -> None:
        """Takes the weights of the input gradients to come, as they are. Shape: (k, k, C, filters)."""

    @abstractmethod
    def input_gradient(self, dx: Floats) -> None:
        """Writes the gradient by a chunk's input, after `add_weight_gradient`. Shape: dx: (n, H, W, C)."""


def interleave(even: Floats, odd: Floats, out: Floats) -> None:
    """Writes even and odd rows in their order. Shape: (rows, n, W, C) each, odd ones to spare; out: (n, H, W, C)."""
    out[:, ::2] = even.transpose(1, 0, 2, 3)
    out[:, 1::2] = odd[: out.shape[1] // 2].transpose(1, 0, 2, 3)
