"""Time taken in turns, and what follows from it: medians, ratios with their spread, and the peak to compare with."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

__all__ = ["ONE_THREAD", "Spread", "alternate", "cores", "limit_threads", "ratio", "sgemm_peak", "spread"]

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""For the environment of a process, whose libraries then take no memory for more threads either."""

_TURN_S = 0.06
_LONGEST_TURN = 10


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the values below which a tenth, and nine tenths, of the rounds lie."""

    low: float
    middle: float
    high: float


def spread(values: np.ndarray) -> Spread:
    """Returns the median and the middle four fifths."""
    return Spread(*(float(value) for value in np.quantile(values, (0.1, 0.5, 0.9))))


def ratio(rival_s: np.ndarray, own_s: np.ndarray) -> Spread:
    """Returns how many times as long the rival took, round by round: what slows a round down slows both."""
    return spread(rival_s / own_s)


def alternate(calls: Mapping[str, Callable[[int], object]], rounds: int, *, warm_up: int = 2) -> dict[str, np.ndarray]:
    """Times calls in turns.

    In each round each has one turn, of as many calls in a row as take 60 ms or so, so that it runs from its own cache
    as it does in a training. Each round begins with another, so that none always follows the same.

    Args:
        calls: what to time, by name; each gets its call's number.
        rounds: how many counted turns each has.
        warm_up: how many calls go before those.

    Returns:
        The seconds of one call, by name. Shape: (rounds,)
    """
    numbers, turn = dict.fromkeys(calls, 0), dict.fromkeys(calls, 1)

    def take(name: str, count: int) -> float:
        first, call = numbers[name], calls[name]
        began = time.perf_counter()
        for number in range(first, first + count):
            call(number)
        seconds = (time.perf_counter() - began) / count
        numbers[name] += count
        return seconds

    for name in calls:
        seconds = min(take(name, 1) for _ in range(warm_up))
        turn[name] = min(_LONGEST_TURN, max(1, math.ceil(_TURN_S / seconds)))
    names = list(calls)
    found = {name: np.empty(rounds) for name in names}
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            found[name][index] = take(name, turn[name])
    return found


def sgemm_peak(tries: int = 5, size: int = 2048) -> float:
    """Returns the most floating point operations a second in a large float32 product, of several tries."""
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((2, size, size), np.float32)
    out = np.empty_like(a)
    fastest = math.inf
    for _ in range(tries):
        began = time.perf_counter()
        np.matmul(a, b, out=out)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * size**3 / fastest


@contextmanager
def limit_threads(threads: int, *, torch: bool = True) -> Iterator[None]:
    """Lets NumPy's BLAS, and PyTorch where it is asked for, use so many threads."""
    from threadpoolctl import threadpool_limits

    if torch:
        from torch import set_num_threads

        set_num_threads(threads)
    with threadpool_limits(threads):
        yield


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
