"""What a report says of an ensemble that is better than its best member, and of one that is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mnistnn.data import Dataset
from sweeps.ensemble import build_ensemble
from sweeps.ensemble.evaluate import Interval
from sweeps.views.report.facts import ReportFacts
from sweeps.views.report.figures import EnsembleFacts
from sweeps.views.report.gather import gather_facts
from sweeps.views.report.page import render
from sweeps.views.report.verdict import headline, verdict
from tests.sweeps.small import make_bench, make_study, paths_of, run_next, small_config
from tests.sweeps.views.html import Page
from tests.sweeps.views.recorded import Recorded

CHANCE, BETTER, WORSE = Interval(0.01, -0.1, 0.1), Interval(0.2, 0.1, 0.3), Interval(-0.2, -0.3, -0.1)
PERHAPS_WORSE = Interval(-0.01, -0.1, 0.1)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> ReportFacts:
    """The facts of a study with an ensemble of two."""
    root = tmp_path_factory.mktemp("verdict")
    config = small_config(ensemble__top=2)
    study, bench = make_study(config, root, sample), make_bench(config, root, sample)
    while run_next(study, bench) is not None:
        pass
    build_ensemble(config, root=root, dataset=sample, tracking_uri="http://127.0.0.1:9", echo=lambda line: None)
    return gather_facts(study, paths_of(config, root), root)


def beside_its_best(facts: ReportFacts, *gains: Interval) -> EnsembleFacts:
    """Returns the ensemble with other gains over its best member: of accuracy and loss, in validation and test."""
    assert facts.ensemble is not None
    names = ("val_gain", "val_loss_gain", "test_gain", "test_loss_gain")
    return dataclasses.replace(facts.ensemble, **dict(zip(names, gains, strict=True)))


def won(facts: ReportFacts, ensemble: EnsembleFacts) -> str:
    return verdict(facts.winner, ensemble, facts.curse, facts.effort, facts.openings)[0]


def test_chance_is_said_of_all_figures_or_of_none(facts: ReportFacts) -> None:
    said = won(facts, beside_its_best(facts, WORSE, WORSE, CHANCE, WORSE))
    assert said.endswith(
        "; the average is worse by more than chance in validation accuracy, validation loss and test loss."
    )
    assert "may be chance" not in said
    said = won(facts, beside_its_best(facts, CHANCE, BETTER, CHANCE, CHANCE))
    assert said.endswith("; the average is better by more than chance in validation loss.")
    said = won(facts, beside_its_best(facts, CHANCE, CHANCE, CHANCE, CHANCE))
    assert said.endswith(", a difference that may be chance.")


def test_why_an_average_did_not_win(facts: ReportFacts) -> None:
    ensemble = beside_its_best(facts, CHANCE, PERHAPS_WORSE, CHANCE, CHANCE)
    assert "did not lower the validation loss (it is 0.0100 higher), which chooses, a difference" in won(
        facts, ensemble
    )


def test_the_headline_names_what_was_submitted(facts: ReportFacts) -> None:
    behind = beside_its_best(facts, CHANCE, PERHAPS_WORSE, CHANCE, CHANCE)
    said = headline(facts.winner, behind, facts.effort, behind.digest).replace("\xa0", " ")
    assert "by one network (trial #" in said
    assert said.endswith(f"; the submission is an average’s, {100 * behind.test_accuracy.estimate:.2f} %")
    assert "submission" not in headline(facts.winner, behind, facts.effort)
    ahead = beside_its_best(facts, CHANCE, CHANCE, CHANCE, CHANCE)
    assert "submission" not in headline(facts.winner, ahead, facts.effort, ahead.digest)


@pytest.mark.parametrize(
    ("digest", "said"), [("", "has its answers"), ("f" * 64, "has the answers of another ensemble")]
)
def test_whose_answers_the_submission_has(facts: ReportFacts, digest: str, said: str) -> None:
    assert facts.ensemble is not None
    origins = dataclasses.replace(facts.origins, submitted=digest or facts.ensemble.digest)
    assert f"The last submission {said}" in Page(render(dataclasses.replace(facts, origins=origins))).text
    assert "The last submission" not in Page(render(facts)).text


def test_the_submission_is_known_by_its_manifest(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    manifest = tmp_path / "submission.csv.manifest.json"
    manifest.write_text(json.dumps({"study": "small", "ensemble": {"digest": "abc"}}))
    assert recorded.facts().origins.submitted == "abc"
    for other in ({"study": "other", "ensemble": {"digest": "abc"}}, {"study": "small", "ensemble": [1]}, [1]):
        manifest.write_text(json.dumps(other))
        assert recorded.facts().origins.submitted == ""


def test_a_baseline_that_waits_was_not_tried(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, study__baselines=["mlp3", "small", "conv2"])
    study = recorded.study
    study.tell(study.ask(), 0.3)
    study.ask()  # at work
    facts = recorded.facts()
    assert (facts.baselines, facts.untried) == (("mlp3", "small"), ("conv2",))
    text = Page(render(facts)).text
    assert "Tried first, and never pruned: mlp3, small. Not tried yet: conv2, which waits for time enough." in text


def test_the_budget_is_part_of_doing_it_again(tmp_path: Path) -> None:
    text = render(Recorded(tmp_path, budget__time="2m").facts())
    assert "\nmake sweep STUDY=small BUDGET=2m\n# what follows" in text
