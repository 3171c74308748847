"""StudyConfig: all that a study's file says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from mnistnn.errors import nearest
from mnistnn.presets import PRESETS
from sweeps.config.arms import Ablation, parse_arms
from sweeps.config.duration import clock
from sweeps.config.fault import Fault, shown
from sweeps.config.search import SearchSpace, parse_search
from sweeps.config.sections import (
    DIRECTIONS,
    Budget,
    Ensemble,
    Final,
    Hyperband,
    Limits,
    Median,
    Metric,
    NoPruner,
    Pruner,
    Sampler,
    Section,
    Study,
    SuccessiveHalving,
)
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
        theirs, ours = dict(_leaves(_space_part(other))), dict(_leaves(_space_part(self.to_dict())))
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
        raise _fault(error, tables) from None
    _check_arms(config)
    if config.budget.trials is None and config.budget.time_s is None and not config.arms:
        raise Fault(("budget",), 'must say when the study ends, but has neither trials nor time; add time = "5m".')
    _check_final(config)
    if config.name == "train":
        raise Fault(("study", "name"), "must not be 'train': sweeps-train is where `train` tracks its nets; rename it.")
    if config.direction != DIRECTIONS[config.metric]:
        rule = (
            f"must be {DIRECTIONS[config.metric]!r} for {config.metric!r}, but got {config.direction!r}; leave it out."
        )
        raise Fault(("study", "direction"), rule)
    for name in config.baselines:
        if name not in PRESETS:
            raise Fault(("study", "baselines"), f"must be presets, but got {shown(name)}; {nearest(name, PRESETS)}")
    if len(set(config.baselines)) < len(config.baselines):
        raise Fault(("study", "baselines"), f"must name each once, but got {shown(config.baselines)}; take one out.")
    space = config.search_space()
    if config.sampler.type == "grid":
        space.check_enumerated()
    return config


def _check_arms(config: StudyConfig) -> None:
    """Checks what goes with arms, and that nothing says they are there where they are not.

    Raises:
        Fault: something does not go with them.
    """
    sampler, pruner = ("sampler", "type"), ("pruner", "type")
    if not config.arms:
        if config.sampler.type == "arms":
            raise Fault(sampler, 'must be another one without [arms], but got "arms"; add arms, or leave it out.')
        return
    if config.search:
        rule = "must not stand beside [arms], each of which has one value of everything; move it to [fixed] or an arm."
        raise Fault(("search", next(iter(config.search))), rule)
    for path, only, given in ((sampler, "arms", config.sampler.type), (pruner, "none", config.pruner.type)):
        if given != only:
            raise Fault(path, f'must be "{only}" beside [arms], but got {shown(given)}; leave it out.')
    if config.baselines:
        rule = f"must be none beside [arms], but got {shown(config.baselines)}; make an arm of each."
        raise Fault(("study", "baselines"), rule)
    if config.final is not None:
        raise Fault(("final",), "must not stand beside [arms], which are compared at their ends; leave it out.")
    if config.budget.trials is not None:
        rule = f"must not stand beside [arms], but got {config.budget.trials}; arms.seeds says how many there are."
        raise Fault(("budget", "trials"), rule)
    config.ablation()


def _check_final(config: StudyConfig) -> None:
    """Sees that it is clear when the final stage begins, and when it ends.

    Raises:
        Fault: it is not.
    """
    final, budget_s = config.final, config.budget.time_s
    if final is None:
        return
    if budget_s is None and final.time is not None:
        rule = "must be a part of budget.time, but there is none; add that, or say final.members instead."
        raise Fault(("final", "time"), rule)
    if budget_s is None and final.members is None:
        rule = "must say how many members the final stage has, as budget.time does not end it; add members = 10."
        raise Fault(("final",), rule)
    if budget_s is not None and final.time is None:
        rule = "must say what part of budget.time is left for the final stage, but has no time; add it, like time = "
        raise Fault(("final",), f'{rule}"50%".')
    if budget_s is not None and (final_s := final.seconds_of(budget_s) or 0.0) >= budget_s:
        rule = f"must be less than budget.time, of which it is a part, but got {clock(final_s)} of "
        raise Fault(("final", "time"), f'{rule}{clock(budget_s)}; take less, or a share of it, like "50%".')


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


def _fault(error: ValidationError, tables: Mapping[str, Any]) -> Fault:
    """Returns the one thing to say of all that pydantic found: an unknown key first, for it may explain the rest."""
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")[0]
    path = [str(part) for part in details["loc"]]
    if len(path) > 1 and path[0] == "pruner":
        del path[1]  # pydantic puts the tag of the union in between
    if details["type"] == "extra_forbidden":
        table = _model_at(path[:-1], tables)
        known = [field.alias or name for name, field in table.model_fields.items()]
        return Fault(path, f"is not a key of a study; {nearest(path[-1], known)}")
    if details["type"] == "missing":
        return Fault(path, "must be given, but is not there; add it.")
    return Fault(path, _rule(details))


def _rule(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if isinstance(reason := context.get("error"), ConfigError):
        return f"does not hold: {reason}"
    given = details["input"]
    if details["type"] == "union_tag_invalid":
        known = [name.strip("' ") for name in str(context["expected_tags"]).split(",")]
        tag = given.get("type") if isinstance(given, dict) else given
        return f"has an unknown type {shown(tag)}; {nearest(str(tag), known)}"
    if details["type"] == "string_pattern_mismatch":
        return f"must be letters, digits, - and _, at most 100, the first no sign, but got {shown(given)}; rename it."
    if details["type"] == "literal_error":
        known = [name.strip("' ") for name in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f"must be known, but {shown(given)} is not; {nearest(str(given), known)}"
    if details["type"] in ("model_type", "dict_type"):
        return f"must be a table, but got {shown(given)}; write it as [{'.'.join(map(str, details['loc']))}]."
    return f"{details['msg'].replace('Input should', 'must')}, but got {shown(given)}; correct it."


def _model_at(path: list[str], tables: Mapping[str, Any]) -> type[BaseModel]:
    if not path:
        return StudyConfig
    if path[0] == "pruner":
        models: dict[str, type[BaseModel]] = {
            "median": Median,
            "successive_halving": SuccessiveHalving,
            "hyperband": Hyperband,
            "none": NoPruner,
        }
        return models[str(tables["pruner"].get("type", "median"))]
    model = StudyConfig.model_fields[path[0]].annotation
    if path[0] == "final":  # which may be left out
        model = Final
    assert isinstance(model, type)  # for mypy: only pruner is another union
    assert issubclass(model, BaseModel)
    return model


def _space_part(tables: Mapping[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for path in (*_SPACE_KEYS, *_LATER_KEYS):
        value: Any = tables
        for key in path:
            value = value.get(key, {}) if isinstance(value, Mapping) else {}
        if value or path not in _LATER_KEYS:
            part[".".join(path)] = value
    return part


def _leaves(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        elif value != {}:
            yield prefix + key, value


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
