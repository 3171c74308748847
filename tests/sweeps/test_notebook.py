from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.figure import Figure
from PIL import Image

import sweeps
from mnistnn.data import Dataset
from mnistnn.errors import DataError
from mnistnn.files import sha256_file
from mnistnn.metrics import accuracy
from sweeps import Study
from sweeps.config.toml import to_toml
from sweeps.ensemble import load_report
from sweeps.errors import ConfigError, StudyError
from sweeps.notebook import Trial
from sweeps.paths import Paths
from sweeps.views.pictures.catalogue import STUDY
from tests.sweeps.command import ROOT, Home
from tests.sweeps.small import TABLES, make_study, small_config

PICTURES = [name for name in dir(Study) if name.startswith("plot_")]


@pytest.fixture(scope="module")
def study(swept: Home) -> Study:
    return Study("smoke", root=swept.root)


def test_import_of_sweeps_is_lazy() -> None:
    code = "import sys, sweeps; assert 'Study' in dir(sweeps); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"numpy", "optuna", "pandas", "sweeps.notebook"} & set(done.stdout.split())
    with pytest.raises(AttributeError, match="no attribute 'study_of_mine'"):
        _ = sweeps.study_of_mine


def test_trials_and_best(study: Study, swept: Home) -> None:
    frame = study.trials()
    listed = swept("trials", "smoke", "--json").json
    assert list(frame["trial"]) == [row["trial"] for row in listed]
    best = study.best
    assert best.number == listed[0]["trial"]
    assert (best.state, best.label) == ("COMPLETE", listed[0]["network"])
    assert best.value == best.val_loss == pytest.approx(listed[0]["val_loss"])
    assert best.val_accuracy == pytest.approx(listed[0]["val_accuracy"])
    assert study.trial(best.number).params == best.params
    assert best.params["optimizer"] in ("adam", "momentum")
    assert best.params["learning_rate"] > 0
    assert study.optuna.study_name == study.name == study.config.name == "smoke"


def test_history_has_the_value(study: Study) -> None:
    history = study.best.history
    assert list(history["epoch"]) == [1, 2]
    assert history["val_loss"].min() == pytest.approx(study.best.value)


def test_network_is_that_of_the_best_epoch(study: Study, sample: Dataset) -> None:
    images, labels = sample.split(study.config.seed)[1].take()
    probs = study.best.network().predict_proba(images)
    assert accuracy(labels, probs) == pytest.approx(study.best.val_accuracy)


def test_ensemble_without_arguments_is_the_one_that_was_built(study: Study, swept: Home, sample: Dataset) -> None:
    ledger = sha256_file(Paths(swept.root).test_ledger)
    report = load_report(Paths(swept.root).study("smoke"))
    ensemble = study.ensemble()
    assert [member.number for member in ensemble.members] == [scored.member.number for scored in report.members]
    assert ensemble.weights == tuple(scored.weight for scored in report.members)
    assert ensemble.method == report.method
    assert ensemble.val_accuracy.estimate == pytest.approx(report.scores.val.accuracy)
    assert ensemble.val_accuracy.low < ensemble.val_accuracy.estimate < ensemble.val_accuracy.high
    images, labels = sample.split(study.config.seed)[1].take()
    probs = ensemble.predict_proba(images)
    assert probs.shape == (len(images), 10)
    assert accuracy(labels, probs) == pytest.approx(report.scores.val.accuracy)
    np.testing.assert_array_equal(ensemble.predict(images), probs.argmax(axis=1))
    assert sha256_file(Paths(swept.root).test_ledger) == ledger


def test_ensemble_as_asked_for(study: Study) -> None:
    one = study.ensemble(top=1)
    assert len(one) == 1
    assert one.weights == (1.0,)
    assert one.members[0].number == study.best.number
    assert one.val_accuracy.estimate == pytest.approx(study.best.val_accuracy)
    greedy = study.ensemble(top=2, method="greedy")
    assert greedy.method == "greedy"
    assert sum(greedy.weights) == pytest.approx(1)


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "plot_importances"])
def test_pictures(study: Study, name: str) -> None:
    figure = getattr(study, name)()
    assert isinstance(figure, Figure)
    shown = Image.open(io.BytesIO(figure._repr_png_()))  # type: ignore[attr-defined]
    assert shown.width > 600


def test_every_picture_of_the_catalogue_has_its_method() -> None:
    assert {f"plot_{picture.name}" for picture in STUDY} == set(PICTURES)


def test_a_picture_of_too_little_is_refused(study: Study) -> None:
    with pytest.raises(StudyError, match=r"of importances must have .* in study 'smoke' it takes 15 trials"):
        study.plot_importances()


def test_how_things_show(study: Study) -> None:
    assert re.fullmatch(r"Study\('smoke': \d+ complete(, \d+ \w+)*\)", repr(study))
    page = study._repr_html_()
    assert page.count("<tr") == 1 + len(study.trials())
    assert study.best.label in page
    assert "nan" not in page.lower()
    best = study.best
    assert repr(best).startswith(f"Trial({best.name}: COMPLETE, {best.label}, ")
    assert "learning_rate" in best._repr_html_()
    assert repr(study.ensemble(top=1)) == f"StudyEnsemble(1 member, mean of {best.name})"
    assert best.label in study.ensemble()._repr_html_()


def test_what_is_shown_is_escaped(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trial, "label", "<script>")
    assert "<script>" not in study.best._repr_html_()


def test_errors_are_one_line(study: Study, home: Home) -> None:
    cases = [
        (lambda: Study("smok", root=home.root), ConfigError, "smoke"),
        (lambda: Study("smoke", root=home.root), StudyError, "has no trials yet; start with `run smoke`"),
        (lambda: study.trial(99), StudyError, "no 99"),
        (lambda: study.ensemble(top=99), StudyError, "99"),
        (lambda: study.ensemble(top=0), StudyError, "top >= 1"),
        (lambda: study.ensemble(method="vote"), ConfigError, "unknown ensemble method 'vote'"),
        (lambda: study.ensemble().predict(np.zeros((1, 28, 27), np.uint8)), DataError, "(N, 28, 28)"),
    ]
    for call, kind, part in cases:
        with pytest.raises(kind) as caught:
            call()
        assert part in str(caught.value)
        assert "\n" not in str(caught.value)
        # IPython shows this instead of a traceback.
        assert caught.value._render_traceback_() == [f"{kind.__name__}: {caught.value}"]


def test_a_trial_that_was_pruned_early(study: Study, tmp_path: Path) -> None:
    pruned = optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, value=2.5, intermediate_values={1: 2.5})
    trial = Trial(pruned, Paths(tmp_path).study("smoke"), study.config)
    assert (trial.state, trial.value, trial.val_loss, trial.params) == ("PRUNED", None, None, {})
    assert trial.history.to_dict("list") == {"epoch": [1], "val_loss": [2.5]}
    assert "PRUNED" in trial._repr_html_()
    with pytest.raises(StudyError, match="must be complete to have a network, but .* is PRUNED"):
        trial.network()


def test_a_study_without_a_complete_trial_has_no_best(home: Home, sample: Dataset) -> None:
    make_study(small_config(), home.root, sample)
    (home.root / "studies" / "small.toml").write_text(to_toml(TABLES))
    study = Study("small", root=home.root)
    with pytest.raises(StudyError, match="has a best trial once one is complete, but none of 'small' is"):
        _ = study.best
    assert repr(study) == "Study('small': no trials)"
