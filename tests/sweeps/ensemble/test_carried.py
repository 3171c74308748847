"""A temperature for an average of many, where an image has the answers of few."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from mnistnn.data import Dataset
from mnistnn.metrics import cross_entropy
from sweeps.ensemble import as_markdown, as_text, build_ensemble, load_report
from sweeps.ensemble.carried import Carried, carry_over, is_few
from sweeps.ensemble.choice import choose
from sweeps.ensemble.evidence import Evidence
from sweeps.ensemble.temperature import fit_temperature, tempered
from sweeps.views.pictures.ensemble_facts import gather_ensemble
from tests.sweeps.ensemble.conftest import TRIALS, Home
from tests.sweeps.ensemble.finals import add_final
from tests.sweeps.ensemble.test_record import make_report

AWAY = "http://127.0.0.1:9"  # nothing listens there


def _nets(members: int, count: int, seed: int, sure: float) -> Evidence:
    """Nets that know the labels' distribution, each with errors of its own, and are so sure of it."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(count, 10)) * 3
    shares = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(0, 9)
    logits = sure * (truth + rng.normal(size=(members, count, 10)))
    probs = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return Evidence.full(probs, labels)


def _parted(evidence: Evidence, answers: int) -> Evidence:
    """The same, but each image was predicted by so many of the members, in turn."""
    members, images = np.indices(evidence.seen.shape)
    seen = (images + members) % len(evidence.probs) < answers
    return dataclasses.replace(evidence, probs=np.where(seen[..., None], evidence.probs, np.float32(0)), seen=seen)


@pytest.mark.parametrize("sure", [0.5, 1.5])
@pytest.mark.parametrize("answers", [1, 2])
def test_the_temperature_of_an_average_comes_from_the_search(sure: float, answers: int) -> None:
    ours = _nets(10, 6000, 0, sure)
    equal = np.full(10, 0.1)
    wanted = fit_temperature(ours.labels, ours.combine(equal))
    parted = _parted(ours, answers)
    fitted = fit_temperature(parted.labels, parted.combine(equal))
    asked = []

    def searched(count: int) -> Evidence:
        asked.append(count)
        return _nets(10, 3000, 1, 0.8)  # as sure as other nets are: only what averaging does is carried over

    found = carry_over(parted, searched)
    assert found is not None
    assert asked == [10]
    assert found.trials == 10
    assert found.ratio < 1
    assert found.temperature == pytest.approx(wanted, rel=0.05)
    assert fitted > 1.1 * wanted
    losses = [cross_entropy(ours.labels, tempered(ours.combine(equal), each)) for each in (found.temperature, fitted)]
    assert losses[0] < losses[1]


def test_where_the_evidence_is_enough_nothing_is_carried_over() -> None:
    def refuse(count: int) -> Evidence:
        raise AssertionError("nobody asks for the search")

    for evidence in (_nets(4, 200, 0, 1.0), _parted(_nets(4, 200, 0, 1.0), 3), _nets(1, 200, 0, 1.0)):
        assert carry_over(evidence, refuse) is None
    assert carry_over(_parted(_nets(4, 200, 0, 1.0), 2), lambda count: None) is None
    assert [is_few(1.2, 12), is_few(6, 12), is_few(6.1, 12), is_few(1, 1)] == [True, True, False, False]


def _choose(home: Home, dataset: Dataset | None, **more: Any) -> Any:
    return choose(home.study, home.config, home.paths, dataset=dataset, **more)


def test_a_final_stage_goes_by_its_own_studys_search(home: Home, sample: Dataset) -> None:
    best, second = home.ranked()[:2]
    for fold, of in enumerate((best, second, best, second)):
        add_final(home, sample, of, fold)
    chosen = _choose(home, sample, method="mean")
    carried = chosen.carried
    assert carried is not None
    assert carried.trials == 4  # as many as members
    assert chosen.ensemble.temperature == carried.temperature
    labels = home.val_probs(best)[1]
    # The best of the search by their losses after a temperature each, as it ranks them.
    among = [
        home.val_probs(member.number)[0] for member in _choose(home, sample, stage="search", top=4).ensemble.members
    ]
    own = [chosen.evidence.member(index) for index in range(4)]
    assert carried.single == fit_temperature(*(np.concatenate(each) for each in zip(*own, strict=True)))
    sureness = fit_temperature(np.tile(labels, 4), np.concatenate(among)) / carried.single
    average = np.mean([tempered(probs, sureness) for probs in among], axis=0, dtype=np.float64)
    assert carried.ratio == pytest.approx(fit_temperature(labels, average) / carried.single, rel=1e-3)
    assert _choose(home, None, method="mean").carried == carried  # as a notebook asks
    assert _choose(home, sample, stage="search", method="mean").carried is None


def test_the_report_says_how_its_temperature_was_found(home: Home, sample: Dataset) -> None:
    best = home.ranked()[0]
    for fold in range(3):
        add_final(home, sample, best, fold)

    def build() -> Any:
        return build_ensemble(home.config, root=home.root, dataset=sample, tracking_uri=AWAY, echo=lambda line: None)

    report = build()
    assert report.carried is not None
    assert load_report(home.paths).carried == report.carried
    for text in (as_text(report), as_markdown(report)):
        assert (
            f"temperature {report.temperature:.4g} = {report.carried.single:.4g} × {report.carried.ratio:.4g}" in text
        )
        assert "averaging 3 of the search's trials" in text
    assert max(map(len, as_text(report).splitlines())) <= 120
    with np.load(home.paths.ensemble / "probs.npz") as file:  # as single nets are, by the temperature that fits these
        assert fit_temperature(file["val_labels"], file["val"]) == pytest.approx(1, abs=2e-3)
        assert cross_entropy(file["val_labels"], file["val"]) == report.scores.val.loss
        drawn = gather_ensemble(load_report(home.paths), home.paths, sample, seed=home.config.seed)
        np.testing.assert_array_equal(drawn.probs, file["val"])
    for number in range(TRIALS):
        (home.paths.trial(number) / "val_probs.npz").unlink()
    alone = build()
    assert alone.carried is None
    assert alone.temperature != report.temperature
    for text in (as_text(alone), as_markdown(alone)):
        assert "for an average of 3 it is too high: those images have 1.0 answers each, and no search was there" in text
    assert max(map(len, as_text(alone).splitlines())) <= 120


def test_four_digits_are_kept() -> None:
    found = Carried(single=0.7123, ratio=0.8765, trials=12)
    assert found.temperature == 0.6243
    assert "temperature 0.6243 = 0.7123 × 0.8765" in as_text(make_report(temperature=0.6243, carried=found))
