"""What recorded runs say of the ranges that were searched: docs/ranges.py."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from tests.scripts import load_script
from tests.sweeps.command import ROOT

RANGES = load_script(ROOT / "docs" / "ranges.py")


def run_of(trials: int, seed: int = 0) -> pandas.DataFrame:
    """Returns a record whose better trials have the higher rates, and whose dropout has nothing to do with it."""
    rng = np.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "trial": np.arange(trials),
            "state": ["COMPLETE"] * (trials - 3) + ["PRUNED"] * 3,
            "from": [None] * trials,
            "baseline": [None] * trials,
            "weights_sha256": "ab",
            "learning_rate": np.linspace(0.008, 0.002, trials),
            "dropout": rng.uniform(0, 1, trials),
            "norm": rng.permutation(np.resize(["none", "batch_norm"], trials)),
            "elastic.use": rng.permutation(np.resize([True, False], trials)),
            "blocks": 3,
            "elastic.amount": np.where(np.arange(trials) < 4, 1.0 + np.arange(trials), np.nan),
        }
    )


def rows_of(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_what_goes_with_the_place_is_told_from_what_does_not() -> None:
    rows = rows_of(RANGES.ranges_table([run_of(20), run_of(12, seed=1)]))
    assert rows["learning_rate"] == [
        "32", "0.002 – 0.008, median 0.005", "0.00516 – 0.008, median 0.00658", "+1.00", "0.00",
    ]  # fmt: skip
    assert float(rows["dropout"][4]) > 0.05 < float(rows["norm"][4])
    assert rows["norm"][1] in ("batch_norm ×16, none ×16", "none ×16, batch_norm ×16")
    assert rows["elastic.use"][1] in ("true ×16, false ×16", "false ×16, true ×16")
    assert rows["elastic.amount"][0] == "8"
    assert "blocks" not in rows  # which was not searched


def test_runs_of_other_parameters_have_their_rows_too() -> None:
    more = run_of(12, seed=1).assign(stride=np.resize([1, 2], 12))
    rows = rows_of(RANGES.ranges_table([run_of(20), more]))
    assert (rows["learning_rate"][0], rows["stride"][0]) == ("32", "12")
    assert "place" not in rows


def test_only_what_the_sampler_drew_and_what_was_compared_counts() -> None:
    run = run_of(20)
    run.loc[0, "baseline"] = "deep"
    run.loc[1, "from"] = "final of #000, fold 1 of 10"
    run.loc[2, "state"] = "FAIL"
    drawn = RANGES.searched_trials(run)
    assert drawn["trial"].tolist() == list(range(3, 20))
    assert (drawn["place"].iloc[0], drawn["place"].iloc[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("trials", [4, 7])
def test_of_a_few_trials_nothing_is_said(trials: int) -> None:
    assert RANGES.ranges_table([run_of(trials)]) == ""
