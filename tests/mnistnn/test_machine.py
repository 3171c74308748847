from __future__ import annotations

import numpy as np

from mnistnn.machine import peak_mb, sgemm_gflops


def test_the_peak_of_memory_is_that_of_what_was_touched() -> None:
    before = peak_mb()
    block = np.ones(25_000_000, np.float32)
    assert peak_mb() >= max(before, block.nbytes / 1e6)
    del block
    assert peak_mb() >= 100  # it does not forget


def test_the_speed_of_a_product_is_that_of_its_best_time() -> None:
    assert 0.1 < sgemm_gflops(64, seconds=0.01) < 1e5
