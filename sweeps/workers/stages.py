"""What a `run` says of a study's final stage: that it has one, what it will train, and why it ends."""

from __future__ import annotations

from pathlib import Path

import optuna

from sweeps.config import Final, StudyConfig
from sweeps.config.duration import clock
from sweeps.paths import Paths
from sweeps.study.budget import Budget, Tally
from sweeps.study.final import FinalStage
from sweeps.study.forecast import Forecast
from sweeps.study.space import Space
from sweeps.workers.order import Order

__all__ = ["describe_final", "limits_text", "why_left"]


def limits_text(budget: Budget) -> str:
    """Returns what the final stage has of a budget, as the end of a list of limits; nothing where there is none."""
    final, final_s = budget.final, budget.final_s
    if final is None:
        return ""
    own = f"the last {clock(final_s)} for its final stage" if final_s is not None else ""
    most = f"{final.members} members" if final.members is not None else ""
    if own and most:
        return f", {own} of {most} at most"
    return f", {own}" if own else f", then a final stage of {most}"


def describe_final(config: StudyConfig, study: optuna.Study, root: Path, order: Order, left_s: float | None) -> str:
    """Returns in one line what the final stage will train, as it can be told when its first member has begun.

    Args:
        config: the study.
        study: the same in its storage.
        root: the project's folder.
        order: what its workers were told.
        left_s: the seconds that are left; None sets no limit.
    """
    rows = [int(entry["rows"]) for entry in order.inputs]  # of training and validation, which are all images
    paths = Paths(root).study(config.name)
    forecast = Forecast(config, Space(config), rows[0])
    return FinalStage(config, forecast, paths, sum(rows), left_s, order.workers).describe(
        study.get_trials(deepcopy=False)
    )


def why_left(final: Final | None, tally: Tally, left_s: float | None) -> str:
    """Returns why the workers of a study have all left before its budget was used up.

    Args:
        final: its final stage, if this call has one.
        tally: its trials by state.
        left_s: the seconds that are left of its time; None where that has no limit.
    """
    if final is not None and not tally.complete:
        return "the final stage needs a complete trial of the search, but there is none; run the study longer."
    if left_s is None:
        return "all workers have left before the budget was used up."
    if final is not None and not tally.members:
        return (
            f"the last {clock(left_s)} are too short for a member of the final stage; give final.time more, or "
            "final.epochs less."
        )
    what = "another trial" if final is None else "another member of the final stage"
    return f"the last {clock(left_s)} are too short for {what}."
