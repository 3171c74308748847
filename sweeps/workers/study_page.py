"""What MLflow shows of a study above its runs: the two views, and in words its budget, its winner and its result."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.trial import FrozenTrial

from sweeps.config import StudyConfig
from sweeps.paths import StudyPaths
from sweeps.study.budget import Tally
from sweeps.study.columns import searched_columns
from sweeps.study.space import Space
from sweeps.study.storage import origin_of
from sweeps.study.validation import has_objective
from sweeps.tracking.events import TrialLog
from sweeps.tracking.notes import reading, views
from sweeps.tracking.table import view_tags

__all__ = ["budget_text", "final_text", "first_page", "heading", "page_views", "result", "stopped", "winner"]


def page_views(config: StudyConfig) -> dict[str, str]:
    """Returns the views as tags of the experiment, with the columns of what this study searches."""
    columns = searched_columns(Space(config))
    return view_tags(
        columns.searched,
        columns.axes,
        by_accuracy=config.metric == "val_accuracy",
        by_objective=has_objective(config),
    )


def heading(study: str) -> str:
    """Returns the heading of the paragraph that names the best trial."""
    return f"Study {study}"


def budget_text(config: StudyConfig) -> str:
    """Returns the budget in words: "300 s or 100 trials"."""
    budget = config.budget
    limits = [f"{budget.trials} trials"] if budget.trials is not None else []
    limits += [f"{budget.time_s:g} s"] if budget.time_s is not None else []
    limits += [] if (arms := config.ablation()) is None else [str(arms)]
    return " or ".join(limits)


def final_text(config: StudyConfig) -> str | None:
    """Returns the final stage in words: "5100 s of it, the best 3 architectures for 16 epochs"; None where none is."""
    final = config.final
    if final is None:
        return None
    limits = [f"{config.final_s:g} s of it"] if config.final_s is not None else []
    limits += [f"{final.members} members"] if final.members is not None else []
    plural = "s" if final.top > 1 else ""
    about = "about " if final.time is not None else ""
    return f"{', '.join(limits)}, the best {final.top} architecture{plural} for {about}{final.epochs} epochs"


def first_page(config: StudyConfig, facts: Mapping[str, object], commit: str | None) -> dict[str, str]:
    """Returns the paragraphs that are known when a study begins.

    Args:
        config: the study.
        facts: as `study_note` takes them.
        commit: the commit that runs it.
    """
    known = [f"{name} {value}" for name, value in facts.items() if value is not None and name != "budget"]
    bare = (commit or "").removesuffix("-dirty")
    checkout = f"git checkout {bare[:12]} && " if bare else ""
    changed = " (the files differed from that commit)" if bare != (commit or "") else ""
    return {
        heading(config.name): f"{views()} · no trial has finished yet.",
        "Budget": f"{budget_text(config) or 'the whole grid'}; {', '.join(known)}.",
        "Result": "still running.",
        "To do it again": f"`{checkout}make sweep STUDY={config.name}`{changed}; `make ui` opens this page.",
        "Reading": reading(),
    }


def winner(study: str, paths: StudyPaths, trial: FrozenTrial) -> dict[str, str]:
    """Returns the paragraph that names the best trial, as its own run is named."""
    number, known = origin_of(trial), trial.user_attrs
    start = TrialLog.first_start(paths.trial(number))
    name = f"#{number:03d} {known.get('label', '')}" if start is None else start["name"]
    scores = {"accuracy": known.get("val_accuracy"), "loss": known.get("val_loss")}
    shown = [
        f"{key} {value:{'.2%' if key == 'accuracy' else '.4f'}}" for key, value in scores.items() if value is not None
    ]
    # What stands last may be cut: folded, MLflow shows one line.
    return {heading(study): f"{views()} · best: validation {', '.join(shown)}, by `{name}`."}


def stopped(reason: str) -> dict[str, str]:
    """Returns the paragraph of a study that waits to be gone on with."""
    return {"Result": f"not at its end; the last run of it was stopped ({reason})."}


def result(tally: Tally, seconds: float) -> dict[str, str]:
    """Returns the paragraph that says how a study ended."""
    counts = f"{tally.complete} trials complete, {tally.pruned} pruned, {tally.failed} failed"
    return {"Result": f"{counts}, in {seconds:,.0f} s."}
