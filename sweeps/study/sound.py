"""Whether what a storage says of trials is such as this project writes: views and verbs then need not ask each time."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial

from mnistnn.epochs import VALIDATED
from sweeps.errors import StudyError

__all__ = ["check_trials"]

_NUMBER = (int, float)
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("label", "reason", "role", "preset", "weights_sha256"), str),
    **dict.fromkeys(("origin", "epochs_run", "best_epoch", "params", "macs", "failures", "losses", "progress"), int),
    **dict.fromkeys((*VALIDATED, "objective"), _NUMBER),
    **dict.fromkeys(("seconds", "peak_mb", "epoch_s", "epoch_s_estimate"), _NUMBER),
    **dict.fromkeys(("last_train_loss", "last_train_accuracy", "last_val_loss", "last_val_accuracy"), _NUMBER),
    **dict.fromkeys(("start_saturated", "start_overflow", "start_largest"), _NUMBER),
    **dict.fromkeys(("overrides", "imported", "extends", "repeats", "arm", "final", "snapshots"), dict),
}
_INNER: dict[str, dict[str, type]] = {
    "imported": {"study": str, "trial": int},
    "extends": {"trial": int, "total": int, "epochs": list},
    "repeats": {"trial": int, "seed": int},
    "arm": {"name": str, "seed": int},
    "final": {"fold": int, "folds": int, "seed": int, "epochs": int},
}


def check_trials(study: optuna.Study) -> None:
    """Checks the kinds of all values that are read of a study's trials.

    Raises:
        StudyError: one is of another kind: the storage was damaged, or written by somebody else.
    """
    try:
        if len(study.directions) != 1:
            raise ValueError("several objectives")
        for trial in study.get_trials(deepcopy=False):
            _check(trial)
    except StorageInternalError:  # a database that does not answer says nothing of what is in it
        raise
    except Exception as error:  # Optuna trusts its storages: on damaged ones anything may be raised
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise StudyError(
            f"a study's storage must hold what this project wrote, but that of {study.study_name!r} does not "
            f"({reason[:100]}); take a copy of it from before it was damaged."
        ) from error


def _check(trial: FrozenTrial) -> None:
    attributes = trial.user_attrs
    values = [*(trial.values or []), *trial.intermediate_values.values()]
    if trial.values is not None and len(trial.values) != 1 or not all(_is(each, _NUMBER) for each in values):
        raise ValueError(f"the values of trial {trial.number}")
    for name, kind in _KINDS.items():
        if attributes.get(name) is not None and not _is(attributes[name], kind):
            raise ValueError(f"{name} of trial {trial.number}")
    for name, inner in _INNER.items():
        found = attributes.get(name)
        if found and not all(_is(found.get(key), kind) for key, kind in inner.items()):
            raise ValueError(f"{name} of trial {trial.number}")
        if found and any(not _is(found[key], list) for key in ("plans", "until") if key in found):
            raise ValueError(f"{name} of trial {trial.number}")
    if not 0 <= attributes.get("origin", trial.number) <= trial.number:  # it names a folder
        raise ValueError(f"origin of trial {trial.number}")
    if not all(isinstance(value, str | int | float | None) for value in trial.params.values()):
        raise ValueError(f"the parameters of trial {trial.number}")


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
