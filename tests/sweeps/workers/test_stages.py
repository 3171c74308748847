"""What a `run` says of a final stage."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.study.budget import Budget
from sweeps.workers.stages import limits_text
from sweeps.workers.study_page import final_text
from tests.sweeps.small import small_config


@pytest.mark.parametrize(
    ("budget", "final", "limits", "page"),
    [
        ({"time": "1h55m"}, {"time": "70%"}, ", the last 1:20:30 for its final stage", "4830 s of it"),
        ({"time": "1h55m"}, {"time": "80m"}, ", the last 1:20:00 for its final stage", "4800 s of it"),
        ({"time": "30m"}, {"time": "70%"}, ", the last 21:00 for its final stage", "1260 s of it"),
        (
            {"time": "30m"},
            {"time": "70%", "members": 4},
            ", the last 21:00 for its final stage of 4 members at most",
            "1260 s of it, 4 members",
        ),
        ({"trials": 3}, {"members": 4}, ", then a final stage of 4 members", "4 members"),
    ],
)
def test_a_share_of_the_budget_is_shown_as_a_time(
    budget: dict[str, Any], final: dict[str, Any], limits: str, page: str
) -> None:
    config = small_config(budget={"epochs": 2} | budget, final=final)
    assert limits_text(Budget.of(config)) == limits
    assert (final_text(config) or "").startswith(f"{page}, the best 3 architectures for ")


def test_a_study_without_one_says_nothing() -> None:
    assert limits_text(Budget.of(small_config())) == ""
