"""All that Optuna knows of a study at one moment, whatever storage it is in; as a journal, or in another storage."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import BaseJournalBackend, JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from sweeps.errors import StudyError
from sweeps.study.lineage import EXTENDS, FINAL, REPEATS
from sweeps.study.storage import origin_of

__all__ = ["Snapshot"]

#: Who wrote an exported journal. Optuna names a process there; the same study shall give the same bytes.
_WRITER = "export"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A study.

    `optuna.copy_study` would do as much, but its journals are never twice the same, it syncs each of their lines to the
    disk, and it would not say if a storage took something else than it was given.

    Attributes:
        name: its name.
        directions: of its objective.
        user_attrs: its attributes.
        system_attrs: Optuna's own.
        trials: the trials, by number.
    """

    name: str
    directions: tuple[StudyDirection, ...]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    trials: tuple[FrozenTrial, ...]

    @classmethod
    def of(cls, study: optuna.Study) -> Snapshot:
        """Reads a study. Others may write to it: what is read of a trial is never older than its state."""
        return cls._read(study._storage, study._study_id, study.study_name)

    @classmethod
    def _read(cls, storage: BaseStorage, study_id: int, name: str) -> Snapshot:
        trials = storage.get_all_trials(study_id)  # first: what the study says is never older
        return cls(
            name=name,
            directions=tuple(storage.get_study_directions(study_id)),
            user_attrs=storage.get_study_user_attrs(study_id),
            system_attrs=storage.get_study_system_attrs(study_id),
            trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        )

    @classmethod
    def parse(cls, journal: bytes) -> Snapshot:
        """Reads what `journal` returned. It may come from anywhere: what breaks a rule of ours is refused.

        Raises:
            StudyError: it is damaged, holds not one study, or trials as this project has none.
        """
        try:
            storage = JournalStorage(_Lines(map(json.loads, journal.splitlines())))
            studies = storage.get_all_studies()
            if len(studies) != 1:
                raise ValueError(f"{len(studies)} studies")
            snapshot = cls._read(storage, studies[0]._study_id, studies[0].study_name)
            _check(snapshot)
            snapshot.journal()  # what a storage would not take, or not as it is
        except Exception as error:  # Optuna trusts its journals: on others anything may be raised
            reason = type(error).__name__ if type(error) is not ValueError else str(error)[:80]
            raise StudyError(
                f"an archive's journal must be a study of this project, but is not ({reason}); export it again."
            ) from error
        return snapshot

    def journal(self) -> bytes:
        """Returns the study as a journal that Optuna opens: the same bytes for the same study.

        Raises:
            StudyError: Optuna's journal would not hold the same.
        """
        lines = _Lines()
        self.copy_into(JournalStorage(lines))
        return lines.to_bytes()

    def copy_into(self, storage: BaseStorage) -> int:
        """Makes the study in a storage that has none of its name. Returns its id.

        Raises:
            StudyError: the storage did not keep the same.
        """
        study_id = storage.create_new_study(self.directions, self.name)
        for key, value in sorted(self.system_attrs.items()):  # databases have no order
            storage.set_study_system_attr(study_id, key, value)
        for key, value in sorted(self.user_attrs.items()):
            storage.set_study_user_attr(study_id, key, value)
        for trial in self.trials:
            storage.create_new_trial(study_id, template_trial=trial)
        kept = Snapshot._read(storage, study_id, self.name)
        if different := self._difference(kept):
            raise StudyError(f"a copy of study {self.name!r} must be the same, but {different} is not; report this.")
        return study_id

    def with_attrs(self, **user_attrs: Any) -> Snapshot:
        """Returns the study with attributes set."""
        return replace(self, user_attrs=self.user_attrs | user_attrs)

    @property
    def current(self) -> dict[int, FrozenTrial]:
        """The last attempt at each trial, by the number under which the trial began."""
        return {origin_of(trial): trial for trial in self.trials if not trial.user_attrs.get("requeued")}

    def _difference(self, other: Snapshot) -> str | None:
        """Returns what differs in `other`, or None."""
        if len(self.trials) != len(other.trials):
            return "the number of trials"
        for ours, theirs in zip(self.trials, other.trials, strict=True):
            if _values(ours) != _values(theirs):
                return f"trial {ours.number}"
        if _text([self.user_attrs, self.system_attrs]) != _text([other.user_attrs, other.system_attrs]):
            return "what it knows of itself"
        return None


def _check(snapshot: Snapshot) -> None:
    """Raises a ValueError where a study is not one that this project could have made, as far as files depend on it."""
    config = snapshot.user_attrs.get("config", {"study": {}})
    if not isinstance(config, dict) or not isinstance(config.get("study"), dict):
        raise ValueError("its configuration")
    if len(snapshot.directions) != 1:
        raise ValueError("several objectives")
    for trial in snapshot.trials:
        numbers = [*(trial.intermediate_values or {}).values(), *(trial.values or [])]
        if (
            trial.values is not None
            and len(trial.values) != 1
            or not all(type(each) in (int, float) for each in numbers)
        ):
            raise ValueError("a trial's values")
        origin = trial.user_attrs.get("origin", trial.number)
        if type(origin) is not int or not 0 <= origin <= trial.number:  # it names a folder
            raise ValueError("a trial's origin")
        extends = trial.user_attrs.get(EXTENDS, {"trial": 0})
        if type(extends["trial"]) is not int or not 0 <= extends["trial"] < len(snapshot.trials):
            raise ValueError("what a trial goes on with")
        repeats = trial.user_attrs.get(REPEATS, {"trial": None})
        if repeats["trial"] is not None and (type(repeats["trial"]) is not int or repeats["trial"] < 0):
            raise ValueError("what a trial repeats")
        final = trial.user_attrs.get(FINAL)
        if final is not None and not _is_member(final):
            raise ValueError("what a trial is a member of")


def _is_member(final: Any) -> bool:
    """Says whether a trial's attribute is such as a member of the final stage has."""
    of, *counts = (final[name] for name in ("of", "fold", "folds", "seed", "epochs"))
    if not all(type(each) is int and each >= 0 for each in [*counts, 0 if of is None else of]):
        return False
    return bool(1 <= final["fold"] <= final["folds"] and final["epochs"] >= 1)


class _Lines(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self, logs: Iterable[dict[str, Any]] = ()) -> None:
        self._logs = list(logs)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._logs += [json.loads(json.dumps(log)) for log in logs]  # as a file would give it back

    def to_bytes(self) -> bytes:
        return b"".join(_line(log) for log in self._logs)


def _line(log: dict[str, Any]) -> bytes:
    known = {key: dict(sorted(log[key].items())) for key in ("user_attrs", "system_attrs") if key in log}
    return json.dumps(log | known | {"worker_id": _WRITER}, separators=(",", ":")).encode() + b"\n"


def _values(trial: FrozenTrial) -> str:
    """Returns all that must survive of a trial, as a text: so that NaN equals NaN."""
    distributions = {
        name: optuna.distributions.distribution_to_json(each) for name, each in trial.distributions.items()
    }
    return _text(
        [
            trial.number,
            trial.state.name,
            trial.values,
            trial.params,
            distributions,
            trial.user_attrs,
            trial.system_attrs,
            trial.intermediate_values,
        ]
    )


def _text(values: Sequence[Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)
