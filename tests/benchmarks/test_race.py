"""The race: its settings, that both sides do the same, and what many races come to."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.race import page, sides, summary, tuning
from benchmarks.race.settings import SETTINGS, changed, load_settings
from benchmarks.race.summary import Result
from mnistnn.data import Dataset
from mnistnn.errors import OutputError, SpecError
from mnistnn.layers.conv2d import Conv2DSpec
from mnistnn.network import Network
from mnistnn.optimizers.adam import Adam
from mnistnn.optimizers.adamw import AdamW

RACE = load_settings()
SHORT = replace(RACE, steps=6, batch_size=32)

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch (make setup-bench)")


def test_the_race_is_run_by_its_settings_file() -> None:
    with open(SETTINGS, "rb") as file:
        written = tomllib.load(file)
    assert (RACE.steps, RACE.batch_size, RACE.goal) == (written["steps"], written["batch_size"], written["goal"])
    assert RACE.goal == 0.99
    assert RACE.optimizer.learning_rate == written["optimizer"]["learning_rate"]
    assert list(RACE.net.filters) == written["net"]["filters"]
    layers = [layer.filters for layer in RACE.network.layers if isinstance(layer, Conv2DSpec)]
    assert layers == written["net"]["filters"]
    assert load_settings(SETTINGS) == RACE
    rates = RACE.rates()
    assert len(rates) == RACE.steps
    assert max(rates) == pytest.approx(RACE.optimizer.learning_rate, rel=1e-3)
    assert rates[-1] < 1e-4 * rates[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": AdamW()}, "Adam without weight decay"),
        ({"optimizer": Adam(weight_decay=0.1)}, "Adam without weight decay"),
        ({"steps": 0}, "steps and batch_size must be ≥ 1"),
        ({"batch_size": 0}, "steps and batch_size must be ≥ 1"),
    ],
)
def test_settings_that_the_sides_would_take_differently_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        replace(RACE, **change)


def test_settings_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.toml").write_text("steps = ")
    (tmp_path / "short.toml").write_text("steps = 3\n")
    (tmp_path / "strange.toml").write_text(SETTINGS.read_text().replace("kernels", "kernel"))
    for name, said in (
        ("none", "No such file"),
        ("torn", "TOML that can be read"),
        ("short", "must be goal"),
        ("strange", "fields of `Net`"),
    ):
        with pytest.raises(SpecError, match=said):
            load_settings(tmp_path / f"{name}.toml")


def test_the_images_are_gone_through_in_the_seed_s_order() -> None:
    settings = replace(RACE, steps=25, batch_size=20)
    order = settings.order(100, 3)
    assert order.shape == (25, 20)
    for each in order.reshape(5, 100):
        np.testing.assert_array_equal(np.sort(each), np.arange(100))
    assert len({tuple(each) for each in order.reshape(5, 100)}) == 5
    np.testing.assert_array_equal(order, settings.order(100, 3))
    assert (order != settings.order(100, 4)).any()


class Witness:
    """A side that only notes what it is told; a step takes a second."""

    detail = ""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.told: list[tuple[tuple[int, ...], float, int]] = []
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def begin(self, seed: int) -> None:
        self.seeds.append(seed)

    def step(self, chosen: np.ndarray, rate: float, step: int) -> None:
        self.told.append((tuple(chosen), rate, step))
        self.now += 1.0

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        return 0.0


def test_every_side_is_told_the_same_and_the_clock_counts_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    witness = Witness()
    monkeypatch.setattr(sides, "time", witness)
    seen = []
    for steps, seconds in sides.laps(witness, SHORT, 7, 500, every=4):
        seen.append((steps, seconds))
        witness.now += 100.0  # as an evaluation would take
    assert seen == [(4, 4.0), (6, 6.0)]
    assert witness.seeds == [7]
    order, rates = SHORT.order(500, 7), SHORT.rates()
    assert witness.told == [(tuple(order[i]), rates[i], i + 1) for i in range(6)]


def test_a_pool_before_the_relu_is_the_same_function(sample: Dataset) -> None:
    images = np.array(sample.train_images[:16])
    spec = sides.pool_first(RACE.network)
    assert spec != RACE.network
    assert sorted(map(repr, spec.layers)) == sorted(map(repr, RACE.network.layers))
    nets = [Network(each, batch_size=16, fused=False) for each in (RACE.network, spec)]
    nets[1].arena.params[...] = nets[0].arena.params
    outputs = [net.forward(images, train=True).copy() for net in nets]
    np.testing.assert_array_equal(*outputs)
    for net in nets:
        net.backward(outputs[0].copy())
    np.testing.assert_array_equal(nets[0].arena.grads, nets[1].arena.grads)


@needs_torch
@pytest.mark.parametrize("channels_last", [False, True])
def test_both_sides_begin_and_train_alike(sample: Dataset, channels_last: bool) -> None:
    import torch

    from benchmarks.torch_nets import torch_images

    images, labels = np.array(sample.train_images), np.array(sample.train_labels)
    ours = sides.NumPySide(SHORT, images, labels)
    theirs = sides.TorchSide(SHORT, images, labels, [sides.Layout(channels_last)])

    def logits() -> tuple[np.ndarray, np.ndarray]:
        theirs.network.eval()
        with torch.inference_mode():
            told = theirs.network(torch_images(RACE.network, images[:32])).numpy()
        theirs.network.train()
        return ours.network.forward(images[:32]).copy(), told

    for side in (ours, theirs):
        side.begin(5)
    np.testing.assert_allclose(*logits(), rtol=1e-4, atol=1e-5)
    first = logits()[0]
    for steps, atol in ((1, 2e-3), (6, 5e-2)):  # Adam's first steps take the gradient's sign, so rounding shows
        short = replace(SHORT, steps=steps)
        for side in (ours, theirs):
            assert [done for done, _ in sides.laps(side, short, 5, len(labels), every=steps)] == [steps]
        mine, told = logits()
        np.testing.assert_allclose(mine, told, atol=atol * np.abs(told).max())
    assert np.abs(mine - first).max() > 0.1
    shares = [side.accuracy(images, labels) for side in (ours, theirs)]
    assert shares[0] == pytest.approx(shares[1], abs=0.03)
    assert 0.15 < shares[0] < 1


def test_a_spread_has_student_s_interval() -> None:
    found = summary.spread([1.0, 2.0, 3.0])
    assert (found.mean, found.sd, found.least, found.median, found.most) == (2.0, 1.0, 1.0, 2.0, 3.0)
    assert found.high - 2 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert found.low + found.high == pytest.approx(4)
    assert math.isnan(summary.spread([1.0]).sd)


def test_ratios_are_averaged_by_their_logarithms() -> None:
    results = [Result(0, (1.0, 2.0), (0.99, 0.99)), Result(1, (2.0, 1.0), (0.99, 0.99))]
    found = summary.speed_up(results)
    assert (found.mean, found.least, found.most) == pytest.approx((1.0, 0.5, 2.0))
    assert found.low * found.high == pytest.approx(1)


def test_the_share_that_reaches_the_goal_counts_the_goal_itself() -> None:
    reached, low, high = summary.share([0.99] * 27 + [0.9899] * 3, 0.99)
    assert reached == 27
    assert (low, high) == pytest.approx((0.7347, 0.9789), abs=1e-4)  # Clopper and Pearson's table


RESULTS = [Result(0, (5.0, 10.0), (0.991, 0.990)), Result(1, (6.0, 12.0), (0.9899, 0.992))]


def test_a_summary_says_times_accuracies_and_shares() -> None:
    text = "\n".join(summary.lines(RESULTS, 0.99))
    assert "this network: 1 of 2 seeds reach 99%" in text
    assert "PyTorch: 2 of 2 seeds reach 99%" in text
    assert "sooner in 2 of 2 races; the ratio of the median times is 2.00" in text
    row = next(line for line in text.splitlines() if line.startswith("this network, s"))
    assert row.split()[3:5] == ["5.50", "0.71"]
    assert "nan" not in "\n".join(summary.lines(RESULTS[:1], 0.99))


def test_results_are_written_as_json_and_as_csv(tmp_path: Path) -> None:
    summary.write(tmp_path / "race.json", RESULTS, 0.99, {"sides": ["a", "b"]})
    found = json.loads((tmp_path / "race.json").read_text())
    assert found["sides"] == ["a", "b"]
    assert found["races"][1] == {
        "seed": 1, "numpy_s": 6.0, "torch_s": 12.0, "numpy_accuracy": 0.9899, "torch_accuracy": 0.992,
    }  # fmt: skip
    assert found["summary"]["numpy"]["reached"] == 1
    assert found["summary"]["speed_up"]["mean"] == pytest.approx(2)
    summary.write(tmp_path / "race.json", RESULTS[:1], 0.99, {})
    assert json.loads((tmp_path / "race.json").read_text())["summary"]["torch"]["seconds"]["sd"] is None
    summary.write(tmp_path / "race.csv", RESULTS, 0.99, {})
    with open(tmp_path / "race.csv", newline="") as file:
        assert [row["torch_s"] for row in csv.DictReader(file)] == ["10.0", "12.0"]
    with pytest.raises(OutputError, match=r"\.json or a \.csv"):
        summary.check_output(tmp_path / "race.txt")


FACTS: dict[str, Any] = {
    "sides": ["NumPy 2", "2.13.0, channels_last"],
    "environment": {
        "cpu": "a processor",
        "python": "3.11",
        "numpy": "2.4",
        "blas": "openblas",
        "commit": "0123456789abcdef",
        "command": "make race SEEDS=2",
    },
}


@pytest.mark.parametrize("keep_pages", [False, True])
def test_a_page_gets_the_figures_between_its_marks(tmp_path: Path, keep_pages: bool) -> None:
    path, facts = tmp_path / "race.md", FACTS | {"keep_pages": keep_pages}
    (begin, end), others = page.marks(keep_pages=keep_pages), page.marks(keep_pages=not keep_pages)
    path.write_text("\n".join(["before", begin, "old figures", end, others[0], "other figures", others[1], ""]))
    page.insert(path, RESULTS, 0.99, facts)
    once = path.read_text()
    assert once.startswith(f"before\n{begin}\n")
    assert once.endswith("\n".join([end, others[0], "other figures", others[1], ""]))
    assert "old figures" not in once
    assert "$ make race SEEDS=2\n" in once
    assert "the ratio of the median times is 2.00" in once
    page.insert(path, RESULTS, 0.99, facts)
    assert path.read_text() == once
    path.write_text(f"{end} {begin}")
    for wrong in (path, tmp_path / "none.md"):
        with pytest.raises(OutputError, match="a page must"):
            page.check_page(wrong, keep_pages=keep_pages)


def test_the_race_s_own_page_can_be_written() -> None:
    for keep_pages in (False, True):
        page.check_page(Path(__file__).parents[2] / "docs" / "race.md", keep_pages=keep_pages)


def test_a_change_reaches_the_part_that_has_the_name() -> None:
    found = changed(RACE, "steps=7 learning_rate=0.05 warmup=0.25 filters=[3,4] norm=false scaling='standard'")
    assert (found.steps, found.optimizer.learning_rate) == (7, 0.05)
    assert found.schedule == replace(RACE.schedule, warmup=0.25)  # type: ignore[call-arg]
    assert found.net == replace(RACE.net, filters=(3, 4), norm=False, scaling="standard")
    assert changed(RACE, "") == RACE
    with pytest.raises(SpecError, match="did you mean 'learning_rate'"):
        changed(RACE, "learning_rat=0.5")
    with pytest.raises(SpecError, match="NAME=VALUE"):
        changed(RACE, "steps=")


def test_settings_are_tried_on_validation_images_alone(sample: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the test images were opened")

    monkeypatch.setattr(Dataset, "open_test", refuse)
    trained_on: list[int] = []
    original = sides.NumPySide.__init__

    def note(self: sides.NumPySide, settings: Any, images: np.ndarray, labels: np.ndarray) -> None:
        trained_on.append(len(labels))
        original(self, settings, images, labels)

    monkeypatch.setattr(sides.NumPySide, "__init__", note)
    tried = list(tuning.try_all(SHORT, sample, ["", "steps=2"], range(2)))
    assert [(each.change, each.seed, each.steps) for each in tried] == [
        ("", 0, 6), ("steps=2", 0, 2), ("", 1, 6), ("steps=2", 1, 2),
    ]  # fmt: skip
    assert set(trained_on) == {1500}
    again = list(tuning.try_all(SHORT, sample, [""], range(1)))
    assert again[0].accuracy == tried[0].accuracy


def test_the_table_puts_the_best_mean_first(tmp_path: Path) -> None:
    def one(change: str, seed: int, accuracy: float) -> tuning.Tried:
        return tuning.Tried(change=change, seed=seed, steps=10, batch_size=32, accuracy=accuracy, seconds=1.0)

    tried = [one("", 0, 0.98), one("steps=9", 0, 0.99), one("", 1, 0.98), one("steps=9", 1, 0.9910)]
    rows = tuning.table(tried, 0.99).splitlines()
    assert rows[2].startswith("| steps=9 | 320 | 99.050 [")
    assert "2 of 2" in rows[2]
    assert rows[3].startswith("| as in `settings.toml` |")
    tuning.write(tmp_path / "tried.csv", tried)
    with open(tmp_path / "tried.csv", newline="") as file:
        assert [row["accuracy"] for row in csv.DictReader(file)] == ["0.98", "0.99", "0.98", "0.991"]
