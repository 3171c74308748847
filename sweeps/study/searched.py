"""A study as its sampler and its pruner see it: without the trials that were no part of the search."""

from __future__ import annotations

from typing import Any, cast

from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeps.study.lineage import is_final, is_repeat

__all__ = ["searched"]


def searched(study: Study) -> Study:
    """Returns a study without its repeats, and without the members of its final stage.

    They were chosen after the search had looked: five more of a point that was good once would draw a sampler there,
    and a median of the best alone would stop whatever is new. What members report is of other images besides.
    """
    return cast(Study, _Searched(study))


class _Searched:
    def __init__(self, study: Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return _first(self._study.get_trials(*args, **kwargs))

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return _first(self._study._get_trials(*args, **kwargs))

    @property
    def trials(self) -> list[FrozenTrial]:
        return _first(self._study.trials)


def _first(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if not (is_repeat(trial) or is_final(trial))]
