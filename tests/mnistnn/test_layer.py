from __future__ import annotations

import numpy as np

from mnistnn.arena import Arena
from mnistnn.layer import BuildContext


def test_a_context_names_sizes_and_counts() -> None:
    context = BuildContext(Arena(np.float64), 5, name="conv2d_1")
    assert context.buffer((2, 3)).shape == (5, 2, 3)
    assert context.scratch((4,), np.bool_).dtype == np.bool_
    assert context.buffer_bytes == 5 * 2 * 3 * 8 + 4
    assert context.param("weight", (2,)).name == "conv2d_1/weight"
    assert context.state("mean", (2,), 0.0).name == "conv2d_1/mean"
