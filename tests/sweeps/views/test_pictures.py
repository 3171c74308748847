from __future__ import annotations

import io
import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from optuna.trial import TrialState, create_trial
from PIL import Image

from sweeps.config.legal import slots
from sweeps.paths import Paths, StudyPaths
from sweeps.study.storage import load_study
from sweeps.views.pictures import NothingToDraw, drawn, study_pictures
from sweeps.views.pictures.catalogue import STUDY
from sweeps.views.pictures.cost import pareto_front
from sweeps.views.pictures.facts import Span, gather
from sweeps.views.pictures.parameters import LEAST_TRIALS, draw_parallel, importances
from sweeps.views.pictures.scale import scale_of
from sweeps.views.pictures.slices import draw_slices
from sweeps.views.pictures.style import log_marks, number
from sweeps.views.pictures.workers import lanes_of, without_pauses
from tests.sweeps.command import Home
from tests.sweeps.views.drawings import drawn_study, drawn_with_faults

ALL = [picture.name for picture in STUDY]


@pytest.mark.parametrize(
    ("count", "direction", "missing"),
    [
        (0, "minimize", set(ALL)),
        (1, "minimize", {"importances", "parallel", "slices"}),
        (3, "maximize", {"importances"}),
        (25, "maximize", set()),
        (500, "minimize", set()),
    ],
)
def test_a_study_of_any_size_has_pictures_that_can_be_read(count: int, direction: str, missing: set[str]) -> None:
    facts = gather(drawn_study(count, direction=direction))
    left_out = set()
    for picture in STUDY:
        try:
            png, wrong = drawn_with_faults(picture.draw(facts), picture.title)
        except NothingToDraw:
            left_out.add(picture.name)
            continue
        assert wrong == [], picture.name
        assert len(png) < (65_000 if count < 60 else 130_000), picture.name
        image = Image.open(io.BytesIO(png))
        assert image.width == 840
        assert image.height < 2000
        assert not image.info.keys() & {"Software", "Creation Time", "Date"}
    assert left_out == missing


def test_a_study_in_which_all_failed(tmp_path: Path) -> None:
    said: list[str] = []
    files = study_pictures(
        drawn_study(4, failed=True), StudyPaths(tmp_path / "none"), tmp_path / "new", say=said.append
    )
    assert files == [tmp_path / "new" / "epochs.png", tmp_path / "new" / "workers.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert len(said) == len(ALL) - 2
    assert "no picture of optimisation history: no trial has ended with a value yet." in said


def test_a_real_study_has_its_pictures(swept: Home) -> None:
    paths = Paths(swept.root).study("smoke")
    names = {"history", "parallel", "slices", "epochs", "cost", "workers"}
    assert {path.stem for path in paths.pictures.glob("*.png")} == names
    for name in names:
        assert (paths.parent / f"{name}.png").samefile(paths.pictures / f"{name}.png")
    events = (paths.parent / "events.jsonl").read_text()
    assert all(f'"file":"{name}.png","folder":"pictures"' in events for name in names)
    stored = list((swept.root / "mlruns" / "artifacts").rglob("artifacts/pictures/*.png"))
    assert names < {path.stem for path in stored}
    facts = gather(load_study("smoke", None, paths), paths)
    for picture in STUDY:
        if picture.name in names:
            assert drawn_with_faults(picture.draw(facts), picture.title)[1] == [], picture.name


def test_the_same_study_gives_the_same_bytes_whatever_a_user_has_set() -> None:
    facts = gather(drawn_study(8))
    chosen = [picture for picture in STUDY if picture.name in ("history", "slices")]
    plain = {each.name: each.png for each in drawn(chosen, facts)}
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        assert {each.name: each.png for each in drawn(chosen, facts)} == plain
        assert dict(matplotlib.rcParams) == before


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys, optuna, sweeps.views.pictures as p; assert 'matplotlib' not in sys.modules\n"
        "from sweeps.views.pictures.catalogue import STUDY, ENSEMBLE\n"
        "from sweeps.views.pictures.facts import gather; assert 'matplotlib' not in sys.modules\n"
        "study = optuna.create_study(); study.add_trial(optuna.trial.create_trial(value=1.0))\n"
        "assert [each.name for each in p.drawn(STUDY, gather(study))] == ['history', 'workers']\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_ends_where_nobody_wants_it_any_more() -> None:
    wanted = iter([True, False])
    assert [each.name for each in drawn(STUDY, gather(drawn_study(3)), is_wanted=lambda: next(wanted))] == ["history"]


def test_facts_are_those_of_the_last_attempt_and_of_all_attempts() -> None:
    study = drawn_study(2)
    attempts = study.get_trials()
    lost = create_trial(state=TrialState.FAIL, user_attrs={"requeued": True})
    lost.datetime_start, lost.datetime_complete = attempts[0].datetime_start, attempts[0].datetime_complete
    study.add_trial(lost)
    study.add_trial(create_trial(value=0.5, user_attrs={"origin": 2, "role": "baseline", "overrides": {"blocks": 0}}))
    facts = gather(study)
    assert [trial.number for trial in facts.trials] == [0, 1, 2]
    trial = facts.trials[2]
    assert (trial.value, trial.is_baseline, trial.is_free, trial.choices) == (0.5, True, False, {"blocks": 0})
    assert [span.state for span in trial.spans] == ["stopped", "complete"]


def test_learning_rates_of_all_optimizers_are_one() -> None:
    facts = gather(drawn_study(40))
    assert "adam" in slots()["optimizer"].names()
    rate = next(each for each in facts.parameters if each.name == "learning_rate")
    assert (rate.low, rate.high, rate.log, rate.distribution) == (3e-4, 0.5, True, None)
    assert all("learning_rate" in trial.choices for trial in facts.trials)


def test_importances_are_of_what_all_trials_have() -> None:
    shares, others, good = importances(gather(drawn_study(200)))
    assert set(shares) == {"blocks", "filters_1", "pool_1", "norm", "activation", "dropout", "optimizer"}
    assert set(others) == {"filters_2", "pool_2", "filters_3", "pool_3", "learning_rate", "weight_decay"}
    assert list(shares)[:2] == ["blocks", "norm"] or list(shares)[:2] == ["norm", "blocks"]  # what the loss is made of
    assert sum(shares.values()) == pytest.approx(1.0)
    assert good == 0.1


def test_too_few_trials_have_no_importances() -> None:
    with pytest.raises(NothingToDraw, match=f"it takes {LEAST_TRIALS} trials"):
        importances(gather(drawn_study(LEAST_TRIALS - 1)))


def test_the_pareto_front() -> None:
    assert pareto_front([(3, 0.9), (1, 0.5), (2, 0.9), (2, 0.8), (4, 0.95), (1, 0.4), (5, 0.95)]) == [1, 2, 4]


def test_trials_at_work_at_once_lie_in_rows() -> None:
    assert lanes_of([(0, 4), (1, 2), (2, 3), (2.5, 6), (4, 5), (5, 7)]) == [0, 1, 1, 2, 0, 0]


def test_the_night_between_two_runs_is_left_out() -> None:
    spans = [Span(1000, 1100, "complete"), Span(1050, 1200, "complete"), Span(40_000, 40_100, "pruned")]
    places, pauses, total = without_pauses(spans)
    assert places[:2] == [(0, 100), (50, 200)]
    assert places[2][1] - places[2][0] == pytest.approx(100)
    assert 200 < pauses[0] < places[2][0] < 210
    assert total == places[2][1]


def test_accuracies_close_to_one_are_told_apart() -> None:
    scale = scale_of([0.9, 0.99, 0.995, 1.0], "accuracy", is_accuracy=True)
    assert scale.is_error
    assert scale.is_log
    ninety, half, perfect = scale.at(0.99), scale.at(0.995), scale.at(1.0)
    assert ninety / half == pytest.approx(2)
    assert 0 < perfect < half
    assert not scale_of([0.8, 0.85], "accuracy", is_accuracy=True).is_log
    assert not scale_of([5.0, 900.0], "score", is_accuracy=True).is_share


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (64, "64"), (2000, "2000"), (20_000, "20k"), (1_500_000, "1.5M"), (0.001, "0.001"), (3e-4, "3e-4"),
     (2.5e-6, "2.5e-6"), (0.1 + 0.2, "0.3")],
)  # fmt: skip
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1.0), (0.02, 0.3), (0.021, 0.024), (7.0, 7.1), (2.0, 900.0)])
def test_a_logarithmic_axis_has_marks(low: float, high: float) -> None:
    marks = log_marks(low, high, 6)
    assert all(low * 0.999 <= mark <= high * 1.001 for mark in marks)
    assert len(marks) <= 6
    assert len(marks) >= (2 if math.log10(high / low) > 0.05 else 0)


def test_a_few_trials_are_not_spread_over_a_dozen_plots() -> None:
    for count, plots in ((3, 4), (5, 5)):
        figure = draw_slices(gather(drawn_study(count)))
        assert sum(axes.get_visible() for axes in figure.axes) == plots


def test_lines_do_not_strike_labels_through() -> None:
    (axes,) = draw_parallel(gather(drawn_study(25))).axes
    labels = [text for text in axes.texts if text.get_va() == "top"]
    assert labels
    lines = max(line.get_zorder() for line in [*axes.lines, *axes.collections])
    for label in labels:
        patch = label.get_bbox_patch()
        assert patch is not None
        assert label.get_zorder() > lines
        assert (patch.get_alpha() or 1) > 0.9
