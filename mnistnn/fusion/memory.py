"""Memory of the fused layers: slices of large blocks, which the system maps by huge pages where it can."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mnistnn.layer import BuildContext
from mnistnn.types import Shape

__all__ = ["BlockContext"]

# NumPy asks for huge pages from 4 MB on. What of a block is never touched takes no memory.
_BLOCK_BYTES = 1 << 26
_LINE_BYTES = 64
# Between two arrays, so that those of one size do not begin in the same lines of the cache.
_GAP_BYTES = 17 * _LINE_BYTES


@dataclass(slots=True)
class BlockContext(BuildContext):
    """A context whose buffers lie side by side in blocks.

    A step goes over some dozen arrays of a few MB at once. With pages of 4 kB, looking up where these lie takes 2 to
    10 % of its time (measured on nets of one to three blocks, Linux with transparent huge pages on "madvise").
    """

    _block: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    _taken: int = 0

    def scratch(self, shape: Shape, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """Returns an uninitialised array of just `shape`."""
        kind = np.dtype(self.arena.dtype if dtype is None else dtype)
        size = math.prod(shape) * kind.itemsize
        if self._taken + size > self._block.size:
            self._block = np.empty(max(_BLOCK_BYTES, size + _LINE_BYTES), np.uint8)
            self._taken = -self._block.ctypes.data % _LINE_BYTES
        array = self._block[self._taken : self._taken + size].view(kind).reshape(shape)
        self._taken += -(-size // _LINE_BYTES) * _LINE_BYTES + _GAP_BYTES
        self.buffer_bytes += size
        return array
