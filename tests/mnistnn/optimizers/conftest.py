from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mnistnn.arena import Arena
from mnistnn.optimizers import OptimizerSpec


@pytest.fixture(scope="session")
def walk() -> Callable[..., list[float]]:
    """Returns the function that gives the path of one weight from 1.0, under a list of gradients."""

    def path(spec: OptimizerSpec, grads: Sequence[float], rate: float) -> list[float]:
        arena = Arena(np.float64)
        arena.param("weight", (1,), decay=True)
        arena.allocate()
        arena.params[...] = 1
        state, found = spec.init(arena), []
        for step, grad in enumerate(grads, start=1):
            arena.grads[...] = grad
            spec.update(state, arena, learning_rate=rate, step=step)
            found.append(float(arena.params[0]))
        return found

    return path
