"""All recorded runs of a study on one page: docs/summary.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas

from tests.scripts import load_script
from tests.sweeps.command import ROOT


def facts(seed: int, accuracy: float, **others: Any) -> dict[str, Any]:
    """Returns what a record keeps of a run."""
    return {
        "study": "night",
        "seed": seed,
        "metric": "val_loss",
        "commit": f"{seed:040d}",
        "machine": "an abacus",
        "whole_s": 6938.0,
        "command_s": None,
        "trials": {"complete": 9, "pruned": 2, "diverged": 1, "failed": 0, "members": 4, "epochs": 50},
        "members": 4,
        "method": "mean",
        "chosen_by": {"part": "out-of-fold", "images": 54_000, "accuracy": accuracy - 0.001, "loss": 0.01}
        | {"answers": 1.0},
        "test": {"images": 10_000, "accuracy": accuracy, "loss": 0.01, "members": [0.9971, 0.9962]},
        "changed": {"affine": {"images": 10_000, "accuracy": accuracy - 0.006, "loss": 0.05}},
        "settings": {"study": {"seed": seed}, "final": {"top": 3}},
    } | others


def summed_up(folder: Path, *runs: dict[str, Any]) -> list[str]:
    """Returns the lines of the page on all runs."""
    script = load_script(ROOT / "docs" / "summary.py")
    trial = {"trial": 1, "state": "COMPLETE", "from": None, "baseline": None, "weights_sha256": "", "dropout": 0.1}
    for run in runs:
        script.write_facts(folder / f"night-seed{run['seed']}.json", run)
        pandas.DataFrame([trial]).to_csv(folder / f"night-seed{run['seed']}-trials.csv", index=False)
    lines: list[str] = script.write_summary(folder, "night").read_text(encoding="utf-8").splitlines()
    return lines


def test_the_runs_of_a_study_are_summed_up_from_their_records(tmp_path: Path) -> None:
    for other in ("nightly-seed1", "night-seedling-seed1"):
        (tmp_path / f"{other}.json").write_text("another study's", encoding="utf-8")
    lines = summed_up(tmp_path, facts(31, 0.9975, command_s=7006.0), facts(9, 0.9965, machine="a loom"))
    first, second = (line for line in lines if line.startswith("| [seed"))  # in their order
    assert first == (
        "| [seed 9](night-seed9.md) | `0000000` | 1:55:38 |  | 8 | `val_loss` | 4 "
        "| 54,000 out-of-fold, 1.0 answers each | 99.55 % (99.49 – 99.60) "
        "| **99.65 % (99.51 – 99.75)** | 99.62 – 99.71 % |"
    )
    assert "| 1:55:38 | 1:56:46 | 8 |" in second
    (mean,) = (line for line in lines if line.startswith("| mean of 2 runs |"))
    half = 12.706 * 0.05  # Student's quantile for one degree of freedom, by the standard error of 99.65 and 99.75
    assert mean.endswith(f"| 99.60 % ({99.6 - half:.2f} – 100.00) | **99.70 % ({99.7 - half:.2f} – 100.00)** |  |")
    assert "| images | seed 9 | seed 31 | mean of 2 runs |" in lines
    assert (
        f"| affine | 99.05 % (98.84 – 99.22) | 99.15 % (98.95 – 99.31) | 99.10 % ({99.1 - half:.2f} – 99.74) |" in lines
    )
    assert any("Machines: seed 9: a loom; seed 31: an abacus." in line for line in lines)
    text = "\n".join(lines)
    assert "Of a mean: Student's" in text
    assert "set alike" not in text
    assert "What was set otherwise" not in text
    assert "What the searches say" not in text  # of two trials


def test_one_run_has_no_mean(tmp_path: Path) -> None:
    lines = summed_up(tmp_path, facts(9, 0.9965))
    assert "| affine | 99.05 % (98.84 – 99.22) |" in lines
    assert "mean" not in "\n".join(lines)


def test_a_mean_is_only_taken_of_what_is_the_same_in_all_runs(tmp_path: Path) -> None:
    by_validation = {"part": "validation", "images": 10_000, "accuracy": 0.9, "loss": 0.1}
    lines = summed_up(tmp_path, facts(9, 0.9965), facts(10, 0.9965, chosen_by=by_validation, changed={}))
    (mean,) = (line for line in lines if line.startswith("| mean of 2 runs |"))
    assert mean.endswith("|  |  | **99.65 % (99.65 – 99.65)** |  |")
    assert "| images | seed 9 |" in lines
    twice = facts(11, 0.9965)["chosen_by"] | {"answers": 2.0}
    lines = summed_up(tmp_path, facts(9, 0.9965), facts(10, 0.9965, chosen_by=twice))
    assert any("| 54,000 out-of-fold, 2.0 answers each |" in line for line in lines)
    (mean,) = (line for line in lines if line.startswith("| mean of 2 runs |"))
    assert mean.endswith("|  |  | **99.65 % (99.65 – 99.65)** |  |")


def test_where_fewer_test_images_were_changed_their_number_is_told(tmp_path: Path) -> None:
    fewer = {"affine": {"images": 2_500, "accuracy": 0.99, "loss": 0.05}}
    lines = summed_up(tmp_path, facts(9, 0.9965), facts(10, 0.9965, changed=fewer))
    assert "| images | seed 9 | seed 10, 2,500 images | mean of 2 runs |" in lines
    (row,) = (line for line in lines if line.startswith("| affine |"))
    assert row.endswith("|  |")


def test_what_was_set_otherwise_is_told(tmp_path: Path) -> None:
    changed = {"study": {"seed": 31, "metric": "val_accuracy"}, "final": {"top": 2}, "search": {"filters": [8, 16]}}
    lines = summed_up(tmp_path, facts(9, 0.9965), facts(31, 0.9975, settings=changed))
    assert any("mean of these runs and not of one study's seeds" in line for line in lines)
    start = lines.index("| setting | seed 9 | seed 31 |")
    assert lines[start + 2 : start + 5] == [
        "| `final.top` | `3` | `2` |",
        "| `search.filters` |  | `[8, 16]` |",
        "| `study.metric` |  | `val_accuracy` |",
    ]
