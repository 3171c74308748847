from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnistnn.metrics import cross_entropy
from sweeps.ensemble.temperature import fit_temperature, tempered


def _calibrated(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that were drawn by them."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(10, 0.2), count)
    labels = np.array([rng.choice(10, p=row) for row in probs])
    return labels, probs.astype(np.float32)


@pytest.mark.parametrize("spoiled", [0.25, 0.5, 2.0, 4.0])
def test_it_finds_the_temperature_that_undoes_another(spoiled: float) -> None:
    labels, probs = _calibrated(4000)
    found = fit_temperature(labels, tempered(probs, spoiled))
    assert found == pytest.approx(1 / spoiled, rel=0.1)
    assert found == float(f"{found:.4g}")


def test_no_other_temperature_has_a_lower_loss() -> None:
    labels, probs = _calibrated(500, seed=3)
    probs = tempered(probs, 3.0)
    best = cross_entropy(labels, tempered(probs, fit_temperature(labels, probs)))
    assert all(best <= cross_entropy(labels, tempered(probs, t)) + 1e-7 for t in np.geomspace(0.05, 20, 200))


def test_what_is_always_right_or_never_has_an_end_all_the_same() -> None:
    labels = np.arange(10)
    sure = np.full((10, 10), 0.05, np.float32) + 0.5 * np.eye(10, dtype=np.float32)
    assert fit_temperature(labels, sure) == 0.05
    assert fit_temperature((labels + 1) % 10, sure) == 20.0


@given(seed=st.integers(0, 10_000), temperature=st.floats(0.05, 20.0), sharp=st.floats(0.001, 5.0))
@settings(max_examples=60, deadline=None)
def test_it_never_changes_an_answer(seed: int, temperature: float, sharp: float) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(10, sharp), 40).astype(np.float32)
    # Two classes as near to each other as numbers can be: rounding makes them one.
    probs[::2, 3] = probs[::2, 7] = probs[::2].max(axis=1)
    probs[::2, 7] = np.nextafter(probs[::2, 3], np.float32(2))
    found = tempered(probs, temperature)
    assert found.dtype == np.float32
    assert np.array_equal(found.argmax(axis=1), probs.argmax(axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(tempered(probs, 1.0), probs)
