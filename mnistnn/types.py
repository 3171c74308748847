"""Array annotations."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Images", "Ints", "Shape", "UInt8s"]

Shape: TypeAlias = tuple[int, ...]
"""The shape of one image's activation, without the batch axis: (H, W, C) or (features,)."""

Floats: TypeAlias = NDArray[np.floating[Any]]
"""Activations, params or gradients: float32 in work, float64 in gradient checks."""

Ints: TypeAlias = NDArray[np.integer[Any]]
UInt8s: TypeAlias = NDArray[np.uint8]

Images: TypeAlias = NDArray[np.uint8] | Floats
"""Pictures in pixel units, 0 to 255: bytes as they lie in a file, or floats."""
