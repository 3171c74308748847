"""What a report says of an ensemble that is better than its best member, and of one that is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mnistnn.data import Dataset
from sweeps.ensemble import build_ensemble
from sweeps.ensemble.evaluate import Interval, share_interval
from sweeps.views.report.curse import _gaps
from sweeps.views.report.facts import ReportFacts
from sweeps.views.report.figures import Curse, EnsembleFacts
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


def out_of_fold(facts: ReportFacts, name: str = "#017", answers: float | None = 1.2, **changes: Any) -> EnsembleFacts:
    """Returns the ensemble as one of a final stage, whose best member has this name."""
    assert facts.ensemble is not None
    best, *others = facts.ensemble.members
    best = dataclasses.replace(best, name=name, images=60)
    values: dict[str, Any] = {"chosen_by": "out-of-fold", "ranked_by": "out-of-fold loss", "answers": answers}
    return dataclasses.replace(facts.ensemble, members=(best, *others), **(values | changes))


def test_what_is_out_of_fold_is_not_called_validation(facts: ReportFacts) -> None:
    ensemble = dataclasses.replace(out_of_fold(facts), val_loss_gain=BETTER, val_gain=WORSE)
    said = won(facts, ensemble)
    assert "better by more than chance in out-of-fold loss" in said
    assert "out-of-fold accuracy" in said
    gaps = find_gaps(facts, ensemble)
    page = Page(render(dataclasses.replace(facts, ensemble=ensemble, curse=gaps))).text
    assert "the best member is the best by out-of-fold loss" in page
    assert "Out-of-fold loss" in page
    assert "so an image that chose has 1.2 answers on average, and a test image all 2" in page


def find_gaps(facts: ReportFacts, ensemble: EnsembleFacts) -> Curse:
    """Returns the curse with the gaps of this ensemble alone."""
    assert facts.curse is not None
    return dataclasses.replace(facts.curse, gaps=_gaps(dataclasses.replace(facts.winner, test_accuracy=None), ensemble))


@pytest.mark.parametrize(
    ("answers", "some"),
    [(1.2, "had not been trained on it, 1.2 of 2 on average."), (None, "had not been trained on it.")],
)
def test_more_answers_are_why_an_average_does_better_on_test_images(
    facts: ReportFacts, answers: float | None, some: str
) -> None:
    low, high = share_interval(0.9, 10_000), share_interval(0.95, 10_000)
    ensemble = out_of_fold(facts, answers=answers, val_accuracy=low, test_accuracy=high)
    said = verdict(facts.winner, ensemble, facts.curse, facts.effort, facts.openings)[1]
    assert "and they were read better than the out-of-fold digits (by 5.00 points): all networks read each of" in said
    assert said.endswith(some)
    assert "easier" not in said
    page = Page(render(dataclasses.replace(facts, ensemble=ensemble, curse=find_gaps(facts, ensemble)))).text
    assert "each test image has all members’ answers" in page
    assert "Out-of-fold less test accuracy, points" in page
    plain = dataclasses.replace(ensemble, answers=2.0, chosen_by="validation", val_loss_gain=BETTER)
    said = verdict(facts.winner, plain, facts.curse, facts.effort, facts.openings)[1]
    assert said.endswith("and they turned out easier than the validation digits (by 5.00 points).")


@pytest.mark.parametrize("name", ["night#017", "#017@4", "+torch"])
def test_a_member_from_elsewhere_has_its_name(facts: ReportFacts, name: str) -> None:
    ahead = out_of_fold(facts, name)
    behind = dataclasses.replace(ahead, chosen_by="held-out", val_loss_gain=PERHAPS_WORSE)
    wrong = f"#{behind.best.number:03d}"
    for ensemble in (ahead, behind):
        origins = dataclasses.replace(facts.origins, submitted=ensemble.digest)
        head = headline(facts.winner, ensemble, facts.effort)
        page = Page(render(dataclasses.replace(facts, ensemble=ensemble, origins=origins, headline=head))).text
        assert f"points over {name}," in page
        assert name in won(facts, ensemble)
        assert wrong not in f"{won(facts, ensemble)} {head}".replace(name, "")
    assert f"though {name} alone has the lower held-out loss." in page
    assert f"by one network ({'' if name == '+torch' else 'trial '}{name})" in head


def test_a_network_alone_has_the_interval_of_its_own_images(facts: ReportFacts) -> None:
    behind = out_of_fold(facts, chosen_by="held-out", val_loss_gain=PERHAPS_WORSE, val_accuracy=share_interval(1.0, 9))
    best = behind.best
    test = share_interval(0.95, 10_000)
    for images, said in ((60, "to within chance."), (100_000, "had promised")):
        members = (dataclasses.replace(best, images=images, val_accuracy=0.97), *behind.members[1:])
        ensemble = dataclasses.replace(behind, members=members, best_test_accuracy=test)
        assert said in verdict(facts.winner, ensemble, facts.curse, facts.effort, facts.openings)[1]


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
