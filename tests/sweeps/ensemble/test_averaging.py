from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from mnistnn.checkpoint import load_model
from sweeps.ensemble.averaging import Ensemble, average
from sweeps.ensemble.members import best_members, finished_trials
from tests.sweeps.ensemble.conftest import Home


def _ensemble(home: Home, weights: tuple[float, ...]) -> Ensemble:
    finished = finished_trials({trial.number: trial for trial in home.study.trials})
    members = best_members("smoke", finished, home.paths, top=len(weights), default=5)
    return Ensemble("smoke", tuple(members), weights, home.paths)


def test_an_average_is_the_weighted_sum() -> None:
    rng = np.random.default_rng(0)
    probs = [rng.dirichlet(np.ones(10), 7).astype(np.float32) for _ in range(3)]
    found = average(probs, (0.5, 0.3, 0.2))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 0.5 * probs[0] + 0.3 * probs[1] + 0.2 * probs[2], rtol=1e-6)
    np.testing.assert_array_equal(average(iter(probs[:1]), (1.0,)), probs[0])
    with pytest.raises(ValueError, match="at least one"):
        average([], ())


def test_an_ensemble_predicts_what_its_networks_do_on_average(trained: Home) -> None:
    ensemble = _ensemble(trained, (0.75, 0.25))
    images = np.random.default_rng(1).integers(0, 256, (130, 28, 28), np.uint8)
    files = [trained.paths.trial(member.number) / "weights.npz" for member in ensemble.members]
    alone = [load_model(file).predict_proba(images) for file in files]
    probs = ensemble.predict_proba(images)
    assert probs.shape == (130, 10)
    np.testing.assert_allclose(probs, 0.75 * alone[0] + 0.25 * alone[1], atol=1e-6)
    np.testing.assert_array_equal(ensemble.predict(images), probs.argmax(axis=1))
    assert ensemble.predict_proba(images[:0]).shape == (0, 10)


def test_memory_does_not_grow_with_the_images_but_for_the_answers(trained: Home) -> None:
    ensemble = _ensemble(trained, (0.5, 0.5))

    def peak(count: int) -> int:
        images = np.zeros((count, 28, 28), np.uint8)
        tracemalloc.start()
        try:
            ensemble.predict_proba(images)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    answers = 10 * (4 + 8 + 8 + 4)  # bytes an image: a member's outputs, and their sum
    assert peak(5000) - peak(500) < 4500 * answers * 1.2


def test_the_digest_names_what_is_computed(trained: Home) -> None:
    ensemble = _ensemble(trained, (0.5, 0.5))
    assert ensemble.digest == _ensemble(trained, (0.5, 0.5)).digest
    assert ensemble.digest != _ensemble(trained, (0.6, 0.4)).digest
    assert ensemble.digest != replace(ensemble, members=ensemble.members[::-1]).digest
    renamed = tuple(replace(member, label="another", run_id="x") for member in ensemble.members)
    assert ensemble.digest == replace(ensemble, members=renamed).digest
