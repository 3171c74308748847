from __future__ import annotations

import warnings

import numpy as np
import pytest

from mnistnn.network import Network
from mnistnn.presets import preset
from sweeps.ensemble.temperature import tempered
from sweeps.ensemble.views import predict, shifted


@pytest.mark.parametrize("down", [-2, 0, 1])
@pytest.mark.parametrize("right", [-1, 0, 3])
def test_a_shift_moves_whole_pixels_and_lets_the_ground_in(down: int, right: int) -> None:
    images = np.random.default_rng(0).integers(1, 256, (3, 28, 28), np.uint8)
    found = shifted(images, down, right)
    assert found.dtype == np.uint8
    for (row, column), pixel in np.ndenumerate(found[1]):
        inside = 0 <= row - down < 28 and 0 <= column - right < 28
        assert pixel == (images[1, row - down, column - right] if inside else 0)


def test_views_are_averaged() -> None:
    network = Network(preset("small").network, batch_size=4, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    moved = [images, *(np.roll(np.pad(images, ((0, 0), (2, 2), (2, 2))), by, (1, 2)) for by in _STEPS)]
    alone = [network.predict_proba(view if view is images else view[:, 2:-2, 2:-2]).copy() for view in moved]
    np.testing.assert_allclose(predict(network, images, 2), np.mean(alone, axis=0), atol=1e-6)
    np.testing.assert_array_equal(predict(network, images), alone[0])


_STEPS = [(2, 0), (-2, 0), (0, 2), (0, -2)]


@pytest.mark.parametrize(("temperature", "pixels"), [(1.0, 0), (0.4, 0), (2.5, 1), (1.0, 3)])
def test_the_registered_model_answers_as_the_ensemble_does(temperature: float, pixels: int) -> None:
    """MLflow's copy of the model has code of its own, for it knows nothing of this project but the network."""
    with warnings.catch_warnings():  # MLflow would have a type of the input
        warnings.simplefilter("ignore")
        from sweeps.tracking import champion_model

    network = Network(preset("small").network, batch_size=4, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
    theirs = champion_model._predict(network, images, pixels).copy()
    ours = predict(network, images, pixels)
    np.testing.assert_allclose(theirs, ours, atol=1e-7)
    np.testing.assert_array_equal(champion_model._tempered(ours, temperature), tempered(ours, temperature))
