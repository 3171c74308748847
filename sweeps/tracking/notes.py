"""What MLflow shows as prose: Markdown above a study's runs, and on a run's own page."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sweeps.tracking.table import CHARTS, TABLE, link

__all__ = ["EXPERIMENT", "experiment_note", "merged", "reading", "study_note", "trial_note", "views"]

EXPERIMENT = "EXPERIMENT"
"""Stands for the experiment's id in links of its note: it is known when the note is delivered."""

_HEADING = re.compile(r"\*\*([^*\n]+):\*\*")


def experiment_note(study: str) -> str:
    """Returns the note above the runs of a study of which no more is known."""
    return merged("", {f"Study {study}": "NumPy networks on MNIST, searched by Optuna.", "Reading": reading()})


def reading() -> str:
    """Returns how MLflow's table of trials is to be read."""
    return (
        "one run for each trial, under one for the study, and one for each ensemble. `pruned` in a run's name means "
        "stopped early on purpose, whatever MLflow's red cross says; the run's tag `reason` says why. `best_…` are of "
        "the epoch whose weights were kept; without it, of the last one."
    )


def views() -> str:
    """Returns the links to both views of the experiment."""
    return f"[table]({link(EXPERIMENT, TABLE)}) · [charts]({link(EXPERIMENT, CHARTS)})"


def merged(note: str, paragraphs: Mapping[str, str], experiment_id: str = "") -> str:
    """Returns a note with some of its paragraphs replaced, or added at its end; what else it says stays.

    Args:
        note: what is there; each of our paragraphs begins with its heading in bold and a colon.
        paragraphs: texts by heading, each without an empty line.
        experiment_id: stands in the links then.
    """
    parts = [part for part in re.split(r"\n\s*\n", note.strip()) if part]
    places = {found[1]: number for number, part in enumerate(parts) if (found := _HEADING.match(part))}
    for heading, text in paragraphs.items():
        part = f"**{heading}:** {text}".replace(f"/{EXPERIMENT}/", f"/{experiment_id}/")
        if heading in places:
            parts[places[heading]] = part
        else:
            parts.append(part)
    return "\n\n".join(parts)


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
