"""What MLflow shows as prose: Markdown above a study's runs, and on a run's own page."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["experiment_note", "study_note", "trial_note"]


def experiment_note(study: str) -> str:
    """Returns the note above the runs of a study."""
    return (
        f"NumPy networks on MNIST, searched by Optuna: study **{study}**. One parent run for the study, one child for "
        "each trial; sort by `best_val_loss` to see all trials flat, best first. KILLED with `· pruned` in the name "
        "means stopped early on purpose: the tag `reason` says why. `best_…` are of the epoch whose weights were kept."
    )


def study_note(study: str, facts: Mapping[str, object], commit: str | None = None) -> str:
    """Returns the description of a study's parent run.

    Args:
        study: its name.
        facts: what a reader wants to know, in order: metric, budget, sampler, pruner, seed, data …; None is left out.
        commit: the commit that ran it.
    """
    lines = [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value is not None]
    checkout = f"git checkout {commit.removesuffix('-dirty')}\n" if commit else ""
    changed = "\n\nThe files in the checkout differed from that commit." if commit and commit.endswith("-dirty") else ""
    return (
        f"Study **{study}**.\n\n| | |\n|---|---|\n"
        + "\n".join(lines)
        + f"\n\nTo do it again:\n\n```\n{checkout}make sweep STUDY={study}\n```{changed}"
    )


def trial_note(architecture: str, facts: Mapping[str, object]) -> str:
    """Returns the description of a trial's run: one line."""
    rest = ", ".join(f"{name} {_cell(value)}" for name, value in facts.items() if value is not None)
    return f"`{architecture}`" + (f": {rest}." if rest else "")


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
