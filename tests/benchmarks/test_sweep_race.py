"""The race of two sweeps: curves, what they say, page and picture, the command and how it ends."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import sweep_race
from benchmarks.nets import ROOT
from benchmarks.page import BY_HAND
from benchmarks.results import Environment
from benchmarks.sweep_curve import Finished, Point, TrialRecord, at, curve, kept_from, reached, steps
from benchmarks.sweep_page import page, verdict
from benchmarks.sweep_race import main, write
from benchmarks.sweep_result import Race, Results, load, middle_share, outcome
from benchmarks.sweep_sides import OURS, PEER, SIDES, Order, Sweep

LABELS = np.array([0, 1, 2])


def finished(seconds: float, *given: float) -> Finished:
    """A trial that gives each image's right class such a probability, and shares the rest."""
    probs = np.empty((len(given), 10), np.float32)
    for row, (label, prob) in enumerate(zip(LABELS, given, strict=False)):
        probs[row] = (1 - prob) / 9
        probs[row, label] = prob
    return Finished(seconds, probs)


def test_the_curve_averages_the_best_that_have_ended() -> None:
    trials = [finished(30, 0.9, 0.9, 0.2), finished(10, 0.5, 0.5, 0.5), finished(20, 0.05, 0.05, 0.05)]
    points = curve(trials, LABELS, top=2)
    assert [point.seconds for point in points] == [10, 20, 30]
    assert [point.members for point in points] == [1, 2, 2]
    single = [-np.log(0.5), -np.log(0.5), -np.log([0.9, 0.9, 0.2]).mean()]
    np.testing.assert_allclose([point.single_loss for point in points], single, rtol=1e-5)
    means = [[0.5] * 3, [0.275] * 3, [0.7, 0.7, 0.35]]  # the bad one is a member until a third has ended
    np.testing.assert_allclose([point.ensemble_loss for point in points], [-np.log(m).mean() for m in means], rtol=1e-5)
    assert [point.ensemble_accuracy for point in points] == [1.0, 1.0, 1.0]


def test_a_wrong_answer_counts_in_the_accuracy_and_no_trial_gives_no_curve() -> None:
    assert curve([finished(1, 0.9, 0.9, 0.05)], LABELS, top=5)[0].ensemble_accuracy == pytest.approx(2 / 3)
    assert curve([], np.empty(0, np.int64), top=5) == []


@given(st.permutations([finished(s, 0.1 * s, 0.3, 0.2) for s in range(1, 6)]))
def test_the_order_of_the_trials_makes_no_difference(trials: list[Finished]) -> None:
    assert curve(trials, LABELS, top=3) == curve(sorted(trials, key=lambda trial: trial.seconds), LABELS, top=3)


def line(*losses: float, every: float = 10.0) -> list[Point]:
    return [
        Point(seconds=every * n, members=n, ensemble_loss=loss, ensemble_accuracy=0.9, single_loss=loss * 1.1)
        for n, loss in enumerate(losses, 1)
    ]


def test_when_a_loss_is_reached_and_when_it_is_kept() -> None:
    points = line(0.5, 0.2, 0.3, 0.25, 0.1)
    assert [reached(points, loss) for loss in (0.6, 0.5, 0.27, 0.1, 0.05)] == [10, 10, 20, 50, None]
    assert [kept_from(points, loss) for loss in (0.6, 0.5, 0.27, 0.1, 0.05)] == [10, 10, 40, 50, None]
    assert reached([], 1.0) is kept_from([], 1.0) is None


@given(st.lists(st.floats(0.01, 1.0), max_size=8), st.floats(0.01, 1.0))
def test_kept_is_never_sooner_than_reached(losses: list[float], loss: float) -> None:
    points = line(*losses)
    first, kept = reached(points, loss), kept_from(points, loss)
    assert kept is None or (first is not None and first <= kept)
    assert (kept is None) == (not losses or losses[-1] > loss)


def test_what_a_sweep_has_at_a_time() -> None:
    points = line(0.5, 0.2)
    assert [at(points, seconds) for seconds in (9.9, 10, 19, 99)] == [None, points[0], points[0], points[1]]
    assert steps(points, 15, lambda point: point.ensemble_loss) == ([10, 15], [0.5, 0.5])
    assert steps(points, 9, lambda point: point.ensemble_loss) == ([], [])


def sweep(*losses: float, every: float = 10.0) -> Sweep:
    records = [
        TrialRecord(
            number=n,
            label="net",
            state="COMPLETE",
            begun_s=every * n,
            ended_s=every * (n + 1),
            val_loss=loss,
            preset=None if n else "mlp3",
        )  # fmt: skip
        for n, loss in enumerate(losses)
    ]
    records.append(TrialRecord(number=99, label="net", state="PRUNED", begun_s=1.0, ended_s=2.0))
    records.append(TrialRecord(number=100, label="net", state="WAITING", begun_s=3.0))
    return Sweep(command_s=100.0, trials=records, curve=line(*losses, every=every))


def raced(ours: Sweep, peer: Sweep, seed: int = 20) -> Race:
    return Race(seed=seed, first=PEER, ours=ours, peer=peer)


def results_of(*races: Race, budget_s: float = 35.0) -> Results:
    known = Environment(
        cpu="a processor", cores=2, system="Linux x86_64", python="3.11", numpy="2.4", blas="openblas 0.3",
        torch="2.13.0", commit="0123abc", command="python benchmarks/sweep_race.py",
    )  # fmt: skip
    versions = {"Optuna": "5.0", "MLflow": "3.17"}
    return Results(
        environment=known, versions=versions, study="default", budget_s=budget_s, top=5, workers=2, races=list(races)
    )


def test_the_outcome_reads_both_sides_to_our_disadvantage() -> None:
    # The peer has 0.3 at 10 s, loses it, and ends with it; ours has it at 4 s, loses it, and keeps it from 12 s on.
    found = outcome(raced(sweep(0.3, 0.5, 0.2, every=4), sweep(0.3, 0.4, 0.3, 0.1)), 35.0)
    assert found is not None
    assert (found.target, found.peer_s, found.first_s, found.ours_s) == (0.3, 10, 4, 12)
    assert found.share == pytest.approx(1.2)
    assert found.ours is not None
    assert found.ours.ensemble_loss == 0.2
    assert (found.late.seconds, found.late.ensemble_loss, found.late_s) == (40, 0.1, None)


def test_what_comes_after_the_budget_does_not_count() -> None:
    found = outcome(raced(sweep(0.5, 0.4, 0.3, 0.1), sweep(0.6, 0.2, every=15)), 35.0)
    assert found is not None
    assert found.ours_s is found.share is found.first_s is None
    assert outcome(raced(sweep(0.5), sweep(0.1, every=40)), 35.0) is None
    empty = outcome(raced(Sweep(command_s=9.0), sweep(0.5)), 35.0)
    assert empty is not None
    assert empty.ours is empty.ours_s is None
    assert sweep(0.5, 0.4, 0.3, 0.2).count("COMPLETE", 35.0) == 3
    assert sweep(0.5, 0.4, 0.3, 0.2).begun(15.0) == 4


def test_the_median_counts_a_race_that_was_not_won_as_the_worst() -> None:
    fast = raced(sweep(0.3, every=4), sweep(0.3))
    slow, never = raced(sweep(0.3, every=8), sweep(0.3)), raced(sweep(0.9), sweep(0.3))
    assert middle_share(results_of(fast)) == pytest.approx(0.4)
    assert middle_share(results_of(fast, slow, never)) == pytest.approx(0.8)
    assert middle_share(results_of(fast, never, never)) is None
    assert middle_share(results_of(raced(sweep(0.5), Sweep(command_s=9.0)))) is None
    assert "0.40 of the time" in verdict(results_of(fast))
    assert verdict(results_of(fast)).endswith(": reached.")
    assert verdict(results_of(slow)).endswith("not reached.")
    assert "does not come to" in verdict(results_of(never))


def test_the_page_and_the_picture_are_written_from_the_record(tmp_path: Path) -> None:
    races = [
        raced(sweep(0.3, 0.5, 0.2, every=4), sweep(0.3, 0.4, 0.3, 0.1)),
        raced(sweep(0.9), sweep(0.3), seed=21),
        raced(sweep(0.9), Sweep(command_s=9.0), seed=22),
        raced(Sweep(command_s=9.0), sweep(0.3), seed=23),
    ]
    results = results_of(*races)
    write(results, tmp_path)
    text = (tmp_path / "sweep_benchmark.md").read_text()
    assert "| 20 | peer | 0.3000 | 10 s | 12 s (first 4 s) | 1.20 | 0.34 | 0.2000 |" in text
    assert "| 21 | peer | 0.3000 | 10 s | not | – | – | 0.9000 |" in text
    assert "| 22 | peer | none |" in text
    assert "The last did so at 40 s, for a loss of 0.1000; this project does not have that within the budget." in text
    assert "| 20 | this project | 5 | 3 | 1 | 0.2200 | 0.2000 | 90.00 % |" in text
    assert "| 20 | Optuna + MLflow + PyTorch | 6 | 3 | 1 |" in text
    assert "| 20 | `mlp3`: net | 0.3000 | 0.3000 | 4.0 | 10.0 |" in text
    assert text.count("`mlp3`: net") == 2  # of the four races two have it on both sides
    assert "A short run" not in text
    assert (tmp_path / "sweep_benchmark.png").stat().st_size > 10_000
    assert load(tmp_path / "sweep_benchmark.json") == results
    (tmp_path / "sweep_benchmark.md").write_text(text + "A remark.\n")
    write(results, tmp_path)
    assert (tmp_path / "sweep_benchmark.md").read_text() == text + "A remark.\n"
    assert page(replace(results, keep_pages=True)).count("--keep-pages") == 1
    assert "A short run: the study itself has 5:00." in page(replace(results, study_s=300.0))
    rendered = CliRunner().invoke(main, ["--render", "--output", str(tmp_path)])
    assert rendered.exit_code == 0, rendered.output
    assert BY_HAND in text


# The command


class Sides:
    """Stands in for both sides' commands, and remembers what it was asked."""

    def __init__(self, labels: Any = (LABELS, LABELS), error: BaseException | None = None) -> None:
        self.asked: list[tuple[str, Order, Path]] = []
        self._labels, self._error = itertools.cycle(labels), error

    def __call__(self, side: str, order: Order, folder: Path) -> tuple[Sweep, np.ndarray]:
        self.asked.append((side, order, folder))
        if self._error is not None:
            raise self._error
        return sweep(0.5, 0.3, every=2.0 if side == OURS else 10.0), next(self._labels)


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> Sides:
    return play(monkeypatch, Sides())


def play(monkeypatch: pytest.MonkeyPatch, sides: Sides) -> Sides:
    monkeypatch.setattr(sweep_race, "run_side", sides)
    monkeypatch.setattr(sweep_race, "warm_up", lambda: None)
    monkeypatch.setattr(sweep_race, "environment", lambda command: results_of().environment)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    return sides


def test_a_study_without_a_time_needs_one(sides: Sides, sample_dir: Path, tmp_path: Path) -> None:
    (study := tmp_path / "tiny.toml").write_text(TINY)
    said = call(sample_dir, str(study))
    assert said.exit_code == 2
    assert "give --budget" in said.stderr
    assert call(sample_dir, str(study), "--budget", "9s").exit_code == 0
    assert [order.study for _, order, _ in sides.asked] == [study.resolve()] * 2


def call(sample_dir: Path, *arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments, "--data-dir", str(sample_dir), "--quiet"])


def test_each_seed_is_raced_by_both_sides_alike(sides: Sides, sample_dir: Path, tmp_path: Path) -> None:
    said = call(sample_dir, "--budget", "35s", "--seeds", "1,2", "--first", "both", "--output", str(tmp_path / "out"))
    assert said.exit_code == 0, said.output
    assert [side for side, *_ in sides.asked] == [OURS, PEER, PEER, OURS] * 2
    orders = [order for _, order, _ in sides.asked]
    assert [order.seed for order in orders] == [1] * 4 + [2] * 4
    assert all(replace(order, seed=1) == orders[0] for order in orders)
    assert (orders[0].budget_s, orders[0].study, orders[0].top) == (35.0, ROOT / "studies" / "default.toml", 5)
    assert len({folder for *_, folder in sides.asked}) == 8
    assert "after 0.20 of the time" in said.output
    assert len(load(tmp_path / "out" / "sweep_benchmark.json").races) == 4


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere"], "nowhere"),
        (["--budget", "soon"], "a duration must be"),
        (["--seeds", "1,x"], "`--seeds` must be numbers"),
        (["--seeds=-1"], "`--seeds` must be numbers"),
        (["--first", "nobody"], "--first"),
        (["--render"], "`--render` must have a folder"),
        (["--keep", "."], "`--keep` must not be there yet"),
    ],
)
def test_what_cannot_be_raced_is_refused(sides: Sides, sample_dir: Path, arguments: list[str], reason: str) -> None:
    said = call(sample_dir, *arguments)
    assert said.exit_code == 2
    assert reason in said.stderr
    assert not sides.asked


def test_a_race_needs_pytorch(sample_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = call(sample_dir)
    assert said.exit_code == 2
    assert "make setup-bench" in said.stderr


def test_a_side_that_fails_fails_the_race(sample_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Sides(error=RuntimeError("the sweep 'peer' must end well")))
    assert call(sample_dir).exit_code == 1
    play(monkeypatch, Sides(error=KeyboardInterrupt()))
    assert call(sample_dir).exit_code == 130
    play(monkeypatch, Sides(labels=(LABELS, LABELS + 1)))
    said = call(sample_dir)
    assert said.exit_code == 1
    assert "same images" in said.stderr


TINY = """
[study]
name = "tiny"
seed = 5
baselines = ["mlp3"]
[budget]
trials = 3
epochs = 1
[fixed]
blocks = 1
batch_size = 50
[search]
filters = [2, 4]
dense_units = [0, 8]
[search.optimizer.adam]
learning_rate = { low = 2e-3, high = 8e-3 }
"""


@pytest.mark.slow
def test_two_real_sweeps_of_the_sample(sample_dir: Path, tmp_path: Path) -> None:
    """Both end by their budget in trials; that in time only bounds the test."""
    pytest.importorskip("torch", reason="needs PyTorch (make setup-bench)")
    study = tmp_path / "tiny.toml"
    study.write_text(TINY)
    script = [sys.executable, str(ROOT / "benchmarks" / "sweep_race.py"), str(study)]
    options = ["--budget", "4m", "--data-dir", sample_dir, "--output", tmp_path / "out", "--keep", tmp_path / "kept"]
    done = subprocess.run(
        [*script, *map(str, options)], capture_output=True, text=True, timeout=500, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "seed 5, peer first"
    (race,) = load(tmp_path / "out" / "sweep_benchmark.json").races
    for side in SIDES:
        known: Sweep = getattr(race, side)
        assert 3 <= known.count("COMPLETE", known.command_s) + known.count("PRUNED", known.command_s) <= 4
        assert known.curve
        assert all(0 < point.seconds < known.command_s for point in known.curve)
        assert known.curve[0].single_loss < 2.4
    kept = tmp_path / "kept" / "seed-5-peer-first"
    assert (kept / OURS / "studies" / "tiny" / "journal.log").exists()
    assert (kept / OURS / "mlruns" / "mlflow.db").exists()
    assert (kept / PEER / "mlflow.db").exists()
