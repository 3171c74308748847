"""StudyConfig: all that a study's file says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError, field_validator, model_validator

from sweeps.config.arms import Ablation, parse_arms
from sweeps.config.fault import Fault, shown
from sweeps.config.rules import check_rules
from sweeps.config.search import SearchSpace, parse_search
from sweeps.config.sections import (
    Budget,
    Ensemble,
    Final,
    Limits,
    Median,
    Metric,
    Pruner,
    Sampler,
    Section,
    Study,
)
from sweeps.config.toml import leaves
from sweeps.config.wording import fault_of
from sweeps.errors import ConfigError

__all__ = ["StudyConfig", "build"]

# What must not change once a study has trials: they could not be compared, or could not be drawn again.
_SPACE_KEYS = (
    ("study", "metric"),
    ("study", "direction"),
    ("study", "seed"),
    ("budget", "epochs"),
    ("sampler", "type"),
    ("limits",),
    ("fixed",),
    ("search",),
)
# Of that, what came when there were studies already; it means nothing where it is 0.
_LATER_KEYS = (("study", "validation_shift"),)

_DEEPEST = 8  # search.optimizer.adam.learning_rate.low are five


class StudyConfig(Section):
    """All that a study's file says. Build it with `load_study` or `from_dict`."""

    study: Study
    budget: Budget
    sampler: Sampler = Sampler()
    pruner: Pruner = Median()
    limits: Limits = Limits()
    ensemble: Ensemble = Ensemble()
    final: Final | None = None
    fixed: dict[str, Any] = {}
    search: dict[str, Any] = {}
    arms: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_arms(cls, tables: Any) -> Any:
        """Arms are neither drawn nor pruned: they are compared at their ends."""
        if not isinstance(tables, Mapping) or not tables.get("arms"):
            return tables
        known = {"sampler": {"type": "arms"}, "pruner": {"type": "none"}}
        given = {key: tables.get(key, {}) for key in known}
        return {**tables} | {
            key: known[key] | value if isinstance(value, dict) else value for key, value in given.items()
        }

    @field_validator("pruner", mode="before")
    @classmethod
    def _default_pruner(cls, value: Any) -> Any:
        return {"type": "median"} | value if isinstance(value, dict) else value

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.study.name

    @property
    def final_s(self) -> float | None:
        """The seconds of the budget's time that are the final stage's; None where it has none, or is none."""
        return None if self.final is None else self.final.seconds_of(self.budget.time_s)

    @property
    def metric(self) -> Metric:
        """What a trial is judged by."""
        return self.study.metric

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Which way is better: "minimize" or "maximize"."""
        return self.study.direction

    @property
    def seed(self) -> int:
        """What everything random in the study derives from."""
        return self.study.seed

    @property
    def validation_shift(self) -> int:
        """By how many pixels the validation images are moved that a trial is judged by too; 0 for none."""
        return self.study.validation_shift

    @property
    def baselines(self) -> list[str]:
        """The presets that are tried first."""
        return self.study.baselines

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any]) -> StudyConfig:
        """Builds the config that `to_dict` wrote.

        Raises:
            ConfigError: the tables break a rule; one line.
        """
        try:
            return build(tables)
        except Fault as fault:
            raise ConfigError(f"study: {fault}") from None

    def to_dict(self) -> dict[str, Any]:
        """Returns the tables of the file, with every default written out."""
        tables = self.model_dump(by_alias=True, exclude_none=True)
        # A limit that was taken away must not come back as its default.
        tables["limits"] = self.limits.model_dump()
        return tables

    def search_space(self) -> SearchSpace:
        """Returns the names and domains that `[fixed]` and `[search]` come to."""
        return parse_search(self.fixed, self.search)

    def ablation(self) -> Ablation | None:
        """Returns the arms that the study compares; None where it searches."""
        return parse_arms(self.fixed, self.arms) if self.arms else None

    @property
    def is_queued(self) -> bool:
        """Whether all of its trials are queued when it is made: the points of a grid, or arms."""
        return self.sampler.type in ("grid", "arms")

    @property
    def hash(self) -> str:
        """Names the whole config, by 16 hexadecimal digits."""
        return _digest(self.to_dict())

    @property
    def space_hash(self) -> str:
        """Names what must not change on an existing study, by 16 hexadecimal digits."""
        return _digest(_space_part(self.to_dict()))

    def space_difference(self, other: Mapping[str, Any]) -> list[str]:
        """Returns what differs from the config whose `to_dict` is `other`, of what must not: "path: theirs → ours"."""
        theirs, ours = dict(leaves(_space_part(other))), dict(leaves(_space_part(self.to_dict())))
        paths = [*theirs, *(path for path in ours if path not in theirs)]
        return [
            f"{path}: {shown(theirs[path]) if path in theirs else 'not there'} → "
            f"{shown(ours[path]) if path in ours else 'not there'}"
            for path in paths
            if path not in theirs or path not in ours or theirs[path] != ours[path]
        ]


def build(tables: Mapping[str, Any]) -> StudyConfig:
    """Builds the config that `tables` describe.

    Raises:
        Fault: they break a rule.
    """
    for name, table in tables.items():
        if _is_deeper(table, _DEEPEST):
            raise Fault((name,), f"must be nested at most {_DEEPEST} deep, but is deeper; write it flat.")
    try:
        config = StudyConfig.model_validate(tables)
    except ValidationError as error:
        raise fault_of(error, tables, StudyConfig) from None
    check_rules(config)
    return config


def _is_deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            if isinstance(outer, Mapping | list)
            for inner in (outer.values() if isinstance(outer, Mapping) else outer)
        ]
    return bool(level)


def _space_part(tables: Mapping[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for path in (*_SPACE_KEYS, *_LATER_KEYS):
        value: Any = tables
        for key in path:
            value = value.get(key, {}) if isinstance(value, Mapping) else {}
        if value or path not in _LATER_KEYS:
            part[".".join(path)] = value
    return part


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
