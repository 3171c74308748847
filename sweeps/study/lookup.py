"""Finding a trial by the number that people know it by."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial

from sweeps.config import StudyConfig
from sweeps.errors import ConfigError, StudyError
from sweeps.study.space import Space, Values
from sweeps.study.storage import origin_of

__all__ = ["config_of", "find_trial", "values_of"]


def config_of(study: optuna.Study) -> StudyConfig:
    """Returns the configuration that a study was last run with.

    Raises:
        StudyError: it was never run, or has what this checkout does not know.
    """
    tables: dict[str, Any] | None = study.user_attrs.get("config")
    if tables is None or not study.user_attrs.get("enqueued"):
        name = study.study_name
        raise StudyError(f"study {name!r} must have been begun, but is not; start it with `run {name}`.")
    try:
        return StudyConfig.from_dict(tables)
    except ConfigError as error:
        raise StudyError(f"study {study.study_name!r}, as it was last run: {error}") from None


def find_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """Returns the last attempt at the trial that began under `number`.

    Raises:
        StudyError: there is none.
    """
    trials = {origin_of(t): t for t in study.get_trials(deepcopy=False) if not t.user_attrs.get("requeued")}
    if number in trials:
        return trials[number]
    known = f"has {min(trials)} to {max(trials)}" if trials else "has none"
    raise StudyError(
        f"a trial must be there, but study {study.study_name!r} {known} and no {number}; "
        f"see `trials {study.study_name}`."
    )


def values_of(trial: FrozenTrial, space: Space) -> Values:
    """Returns all values of a trial that has them, or waits with them.

    Raises:
        StudyError: it has not drawn them yet.
    """
    given = trial.params or trial.system_attrs.get("fixed_params", {})
    try:
        return space.values(given, trial.user_attrs.get("overrides", {}))
    except KeyError:
        raise StudyError(
            f"a trial must have its parameters, but #{origin_of(trial):03d} has not drawn them yet; wait until it runs."
        ) from None
