from __future__ import annotations

import numpy as np
import pytest

from mnistnn.metrics import cross_entropy
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.methods import weigh
from sweeps.ensemble.selection import METHODS
from sweeps.ensemble.temperature import fit_temperature, tempered


def _net(labels: np.ndarray, right: float, rng: np.random.Generator, sure: float = 0.9) -> np.ndarray:
    """A net that is right on a share of the images, and as sure of all."""
    answers = np.where(rng.random(len(labels)) < right, labels, (labels + rng.integers(1, 10, len(labels))) % 10)
    probs = np.full((len(labels), 10), (1 - sure) / 9, np.float32)
    probs[np.arange(len(labels)), answers] = sure
    return probs


def _equal(count: int, members: int, seed: int = 0) -> Evidence:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    return Evidence.full([_net(labels, 0.9, rng) for _ in range(members)], labels)


def test_equal_members_are_left_to_the_mean() -> None:
    for seed in range(5):
        found = weigh(_equal(600, 5, seed), "auto")
        assert found.method == "mean"
        assert found.weights.tolist() == [0.2] * 5
        assert [score.method for score in found.scores] == list(METHODS)


def test_a_member_that_spoils_the_mean_is_found_out() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 2000)
    nets = [_net(labels, 0.95, rng), _net(labels, 0.95, rng), *(_net(labels, 0.1, rng, sure=0.999) for _ in range(4))]
    found = weigh(Evidence.full(nets, labels), "auto")
    assert found.method in ("weighted", "greedy")
    assert found.weights[:2].sum() > 0.9
    (mean,) = [score for score in found.scores if score.method == "mean"]
    (taken,) = [score for score in found.scores if score.method == found.method]
    assert taken.gain.low > 0
    assert taken.loss < mean.loss
    assert mean.gain.estimate == 0


def test_what_was_fitted_on_noise_is_not_believed() -> None:
    """Of many nets that are all chance, weights always fit some labels; on others they are no better."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 10, 200)
    evidence = Evidence.full([rng.dirichlet(np.ones(10), 200) for _ in range(8)], labels)
    fitted = METHODS["weighted"](evidence)

    def in_sample(weights: np.ndarray) -> float:
        probs = evidence.combine(weights)
        return cross_entropy(labels, tempered(probs, fit_temperature(labels, probs)))

    assert in_sample(fitted) < in_sample(np.full(8, 1 / 8))
    assert weigh(evidence, "auto").method == "mean"


def test_a_named_method_is_taken_whatever_it_is_worth() -> None:
    evidence = _equal(300, 3)
    for name, fit in METHODS.items():
        found = weigh(evidence, name)
        assert (found.method, found.scores) == (name, ())
        np.testing.assert_array_equal(found.weights, fit(evidence))
        compared = weigh(evidence, name, compare=True)
        assert len(compared.scores) == len(METHODS)
        np.testing.assert_array_equal(compared.weights, found.weights)


def test_one_member_is_all_there_is() -> None:
    found = weigh(_equal(50, 1), "auto")
    assert (found.method, found.weights.tolist(), found.scores) == ("mean", [1.0], ())


def test_methods_cope_with_members_that_saw_other_images() -> None:
    full = _equal(500, 4)
    rng = np.random.default_rng(0)
    seen = np.zeros((4, 500), bool)
    seen[rng.integers(0, 4, 500), np.arange(500)] = True  # each image by one member, as in a final stage of few
    seen[0, :100] = True
    evidence = Evidence(full.indices, full.labels, np.where(seen[..., None], full.probs, 0), seen)
    for name in METHODS:
        weights = weigh(evidence, name).weights
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()
    assert weigh(evidence, "auto").method == "mean"


def test_what_no_image_compares_has_its_plain_share() -> None:
    """Two architectures of three members each, which leave out the same three parts: one of the first part is bad."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 10, 1500)
    seen = np.tile(np.arange(1500)[None] % 3 == np.arange(3)[:, None], (2, 1))
    nets = [_net(labels, 0.5 if member == 3 else 0.95, rng) for member in range(6)]
    evidence = Evidence(np.arange(1500), labels, np.where(seen[..., None], np.stack(nets), np.float32(0)), seen)
    raw = METHODS["weighted"](evidence)
    for method in (*METHODS, "auto"):
        found = weigh(evidence, method, compare=True)
        assert found.weights.sum() == pytest.approx(1)
        for part in range(3):  # no image says how much one part's members should count beside another's
            assert found.weights[[part, part + 3]].sum() == pytest.approx(1 / 3)
    assert found.method != "mean"
    assert found.weights[3] < 0.1 < found.weights[0]
    weighted = weigh(evidence, "weighted").weights
    np.testing.assert_allclose(evidence.combine(raw), evidence.combine(weighted), atol=1e-6)
    assert abs(raw[[0, 3]].sum() - 1 / 3) > 0.02  # the method itself had given them some other share


def test_where_nobody_shares_an_image_nothing_can_be_weighed() -> None:
    full = _equal(400, 4)
    seen = np.arange(400)[None] % 4 == np.arange(4)[:, None]
    evidence = Evidence(full.indices, full.labels, np.where(seen[..., None], full.probs, 0), seen)
    found = weigh(evidence, "auto")
    assert found.method == "mean"
    np.testing.assert_allclose(METHODS["weighted"](evidence), 0.25)
    assert np.count_nonzero(METHODS["greedy"](evidence)) == 4, "no tie drops a member"
