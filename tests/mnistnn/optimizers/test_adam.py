from __future__ import annotations

from collections.abc import Callable

import pytest

from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.rmsprop import RMSprop


@pytest.mark.parametrize("grad", [1e-4, 1.0, -1e4])
def test_the_first_step_is_the_learning_rate_whatever_the_gradient(
    walk: Callable[..., list[float]], grad: float
) -> None:
    assert walk(Adam(), [grad], 0.1) == pytest.approx([0.9 if grad > 0 else 1.1], abs=1e-4)


def test_constant_gradients_keep_the_step(walk: Callable[..., list[float]]) -> None:
    """With the bias of the start taken out, the averages of a constant are that constant from the first step on."""
    assert walk(Adam(), [3.0] * 5, 0.1) == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5], abs=1e-6)


def test_without_its_averages_it_follows_the_sign(walk: Callable[..., list[float]]) -> None:
    grads = [3.0, -4.0, 5.0]
    assert walk(Adam(beta1=0.0, beta2=0.0), grads, 0.1) == pytest.approx([0.9, 1.0, 0.9], abs=1e-6)
    assert walk(Adam(beta1=0.0, beta2=0.0), grads, 0.1) == pytest.approx(walk(RMSprop(rho=0.0), grads, 0.1))


def test_decay_goes_through_the_averages(walk: Callable[..., list[float]]) -> None:
    assert walk(Adam(weight_decay=0.1), [0.0], 0.1) == pytest.approx([0.9], abs=1e-6)
