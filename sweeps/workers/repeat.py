"""A run of repeats: what is missing of them is queued, and they alone are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna

from mnistnn.data import Dataset
from sweeps.paths import Paths
from sweeps.study.lookup import config_of
from sweeps.study.repeat import chosen, queue_repeats, unfinished
from sweeps.study.storage import load_study
from sweeps.workers.summary import RunSummary
from sweeps.workers.supervisor import run_study

__all__ = ["run_repeats"]


def run_repeats(
    name: str,
    *,
    root: Path,
    dataset: Dataset,
    seeds: int,
    top: int | None = None,
    numbers: Sequence[int] = (),
    storage_url: str | None = None,
    **options: Any,
) -> tuple[list[int], RunSummary | None]:
    """Trains the best trials of a study again by other seeds, as far as that has not been done.

    The study is what it was last run with, whatever its file says now. Its budget pays for none of it, in trials or in
    time. What is stopped waits, and goes on in the next call.

    Args:
        name: the study's name.
        root: the project's folder.
        dataset: what the study was run on.
        seeds: how many repeats each trial shall have.
        top: how many of the best trials to repeat; by default five.
        numbers: certain trials instead.
        storage_url: where the trials are; by default the study's own journal.
        options: what else `run_study` takes.

    Returns:
        The trials, the best first; and what came of the run, None where nothing was left to do.

    Raises:
        StudyError: there is nothing to repeat, or another `run` is at work on the study.
    """
    paths = Paths(root).study(name)
    study = load_study(name, storage_url, paths)
    trials = chosen(study, top, numbers)
    if not unfinished(study, trials, seeds):
        return trials, None

    def choose(opened: optuna.Study) -> list[int]:
        return queue_repeats(opened, paths, trials, seeds)

    config = config_of(study)
    summary = run_study(config, root=root, dataset=dataset, storage_url=storage_url, choose=choose, **options)
    return trials, summary
