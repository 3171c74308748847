"""What the machine gives: the speed of its matrix products, and the memory that this process had of it."""

from __future__ import annotations

import math
import resource
import sys
import time

import numpy as np

__all__ = ["peak_mb", "sgemm_gflops"]


def sgemm_gflops(size: int = 1024, seconds: float = 0.2) -> float:
    """Returns the best speed of a float32 product of two square matrices: what the cores and their BLAS can do.

    Args:
        size: of the matrices; at 1024 they take 12 MB, and no more speed comes with size.
        seconds: how long to try; at least three products.
    """
    a, b, out = np.ones((3, size, size), np.float32)
    best, products, until = math.inf, 0, time.perf_counter() + seconds
    while products < 3 or time.perf_counter() < until:
        began = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - began)
        products += 1
    return 2 * size**3 / best / 1e9


def peak_mb() -> float:
    """Returns the most memory that this process has had. **Units**: MB of 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on macOS
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
