"""The command behind `make bench`, its page and its picture."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contenders import FLOAT64, LAYOUTS, OURS, PLAIN
from benchmarks.goals import goals
from benchmarks.inference import InferenceRow
from benchmarks.measure import Spread
from benchmarks.memory import MemoryRow, Peak
from benchmarks.nets import ROOT
from benchmarks.page import BY_HAND, page
from benchmarks.results import Environment, Results, load
from benchmarks.shares import SharesRow
from benchmarks.side_by_side import COLUMNS, write
from benchmarks.steps import StepRow
from benchmarks.workers import WorkersResult

SOME = Environment(
    cpu="a processor", cores=2, system="Linux x86_64", python="3.11", numpy="2.4", blas="openblas 0.3", torch="2.13.0",
    commit="0123abc", command="python benchmarks/side_by_side.py --parts all",
)  # fmt: skip


def around(value: float) -> Spread:
    return Spread(0.9 * value, value, 1.1 * value)


def row(net: str, ratio: float, *, group: str = "named", threads: int = 1) -> StepRow:
    times = {OURS: 40.0, PLAIN: 60.0, LAYOUTS[0]: 90.0 * ratio, LAYOUTS[1]: 40.0 * ratio}
    return StepRow(
        net=net, group=group, threads=threads, batch_size=100, flop=2e9, best=LAYOUTS[1], ratio=around(ratio),
        ms={name: around(value) for name, value in times.items()}, others={PLAIN: around(1.5)},
    )  # fmt: skip


def peaks(own: float, least: float) -> dict[str, Peak]:
    return {
        name: Peak(training_mb=value, process_mb=value + 50)
        for name, value in zip((OURS, *LAYOUTS), (own, least + 9, least), strict=True)
    }


@pytest.fixture
def results() -> Results:
    report = row("report", 3.2)
    report.ms[FLOAT64], report.others[FLOAT64] = around(500), around(12.5)
    draws = [row(f"draw-{number:02}", 0.9 + number / 50, group="draw") for number in range(1, 51)]
    return Results(
        environment=SOME,
        rounds=20,
        peaks={1: 1e11, 2: 2e11},
        steps=[report, row("conv2", 1.4), row("conv2", 1.1, threads=2), *draws],
        inference=[
            InferenceRow(
                net="conv2",
                threads=1,
                batch_size=100,
                best=LAYOUTS[1],
                ratio=around(1.25),
                images_per_s={name: around(5000) for name in (OURS, *LAYOUTS)},
            )
        ],  # fmt: skip
        memory=[
            MemoryRow(net="conv2", batch_size=100, peaks=peaks(40, 80)),
            MemoryRow(net="mlp3", batch_size=100, peaks=peaks(3, 2)),
        ],
        workers=WorkersResult(net="conv2", train_gain=around(1.8), sgemm_gain=around(1.9), share=around(0.947)),
        shares=[SharesRow(net="conv2", data=around(0.01), validation=around(0.09))],
    )


def test_goals_are_held_against_what_was_measured(results: Results) -> None:
    found = {goal.what: goal for goal in goals(results)}
    reached = {what: goal.reached for what, goal in found.items()}
    assert reached == {
        "step of `report` over PyTorch's best": True,
        "step of `conv2` over PyTorch's best": False,
        "step of `report` over the report's own, float64": True,
        "`conv2`, part of the sgemm peak": False,  # 2 GFLOP in 40 ms, of 100 GFLOP/s
        "median of the 50 draws over PyTorch's best": True,
        "of the 50 draws, faster than PyTorch": True,
        "inference of `conv2` over PyTorch's best": True,
        "peak memory over PyTorch's least, worst net (`mlp3`)": False,
        "gain of a second worker over that of bare sgemm": False,
        "`conv2`: batching and augmentation, of a step": True,
        "`conv2`: validation, of an epoch": False,
    }
    assert found["`conv2`, part of the sgemm peak"].figure == "50 %"
    assert found["of the 50 draws, faster than PyTorch"].figure == "45"
    assert goals(Results(environment=SOME)) == []


def test_the_page_says_what_was_measured_where(results: Results) -> None:
    text = page(results)
    for part in (SOME.cpu, SOME.numpy, SOME.blas, SOME.torch, SOME.commit, SOME.command, "bench.png"):
        assert part in text
    assert "| `conv2` | 40.00 | 60.00 | 126.00 | 56.00 | – | 1.40 (1.26–1.54) | 50.0 | 50% |" in text
    assert "## A training step, 2 threads" in text
    assert "12.50 (11.25–13.75) times as long" in text
    assert "45 of 50 faster" in text
    assert "| `draw-01` | 100 | 40.00 | 36.80 | 0.92 (0.83–1.01) |" in text
    assert "7 of 11" not in text
    assert "6 of 11" in text
    for line in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # every table is one
        assert len({part.count("|") for part in line.splitlines()}) == 1
    assert "## Inference" not in page(replace_parts(results))


def replace_parts(results: Results) -> Results:
    return Results(environment=SOME, peaks=results.peaks, steps=results.steps)


def test_what_is_written_by_hand_survives(results: Results, tmp_path: Path) -> None:
    write(results, tmp_path)
    path = tmp_path / "benchmarks.md"
    path.write_text(path.read_text() + "\n## Why\n\nBecause.\n")
    slower = replace_parts(results)
    slower.steps[1] = row("conv2", 0.5)
    write(slower, tmp_path)
    text = path.read_text()
    assert text.count(BY_HAND) == 1
    assert text.endswith("\n## Why\n\nBecause.\n")
    assert "0.50 (0.45–0.55)" in text


def test_figures_are_read_back_and_drawn_again(results: Results, tmp_path: Path) -> None:
    from matplotlib.image import imread

    write(results, tmp_path)
    assert load(tmp_path / "benchmarks.json") == results
    first = imread(tmp_path / "bench.png")
    assert first.shape[1] > 1400
    assert len(np.unique(first.reshape(-1, first.shape[2]), axis=0)) > 50
    (tmp_path / "bench.png").unlink()
    done = run("--render", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(imread(tmp_path / "bench.png"), first)
    write(replace_parts(results), tmp_path)
    few = Results(
        environment=SOME, steps=[replace(row("mlp3", 0.8), note="torch.compile: no compiler")], peaks={1: 1.0}
    )
    write(few, tmp_path)
    assert "Not measured: `mlp3`: torch.compile: no compiler." in (tmp_path / "benchmarks.md").read_text()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "side_by_side.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nets", "conv3"], "`--nets` must be of report"),
        (["--threads", "none"], "`--threads` must be 1 or more, or all, but got none"),
        (["--render"], "`--render` must have a folder"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], said: str) -> None:
    if "--render" not in arguments:
        pytest.importorskip("torch", reason="needs PyTorch (make setup-bench)")
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_quick_run_prints_and_writes_each_part(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs PyTorch (make setup-bench)")
    done = run(
        "--quick", "--parts", "all", "--nets", "mlp3", "--draws", "1", "--rounds", "3", "--output", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    head = next(line for line in lines if line.startswith("net "))
    assert head.split()[1 : 1 + len(COLUMNS)] == list(COLUMNS.values())
    figures = next(line for line in lines if line.startswith("mlp3")).split()
    assert len(figures) == 1 + len(COLUMNS) + 2 + 2  # the ratio and its spread, GFLOP/s and the part of the peak
    assert figures[5] == "–"  # nothing is compiled in a quick run
    found = load(tmp_path / "benchmarks.json")
    assert found.quick
    assert [row.net for row in found.steps] == ["mlp3", "draw-01"]
    step = found.steps[0]
    assert step.best == min(LAYOUTS, key=lambda layout: step.ms[layout].middle)
    assert figures[1] == f"{step.ms[OURS].middle:.2f}"
    assert step.ratio.low <= step.ratio.middle <= step.ratio.high
    assert 0 < step.flop_per_s < 1.2 * found.peaks[1]
    assert [row.net for row in found.inference] == [row.net for row in found.memory] == ["mlp3"]
    memory = found.memory[0].peaks
    # Params, grads, two vectors of Adam's: a net cannot take less; nor can PyTorch be loaded in what NumPy takes.
    assert all(peak.training_mb > 4 * 4 * 101_770 / 1e6 for peak in memory.values())
    assert memory[OURS].process_mb < 0.5 * memory[LAYOUTS[0]].process_mb
    assert len(found.shares) == 2
    assert all(0 < row.data.middle < 0.5 and 0 < row.validation.middle < 0.5 for row in found.shares)
    assert "rough" in (tmp_path / "benchmarks.md").read_text()
