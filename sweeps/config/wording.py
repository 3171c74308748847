"""What pydantic finds wrong with a study's tables, in the words of this project: one fault, with its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mnistnn.errors import nearest
from sweeps.config.fault import Fault, shown
from sweeps.config.sections import Final, Hyperband, Median, NoPruner, SuccessiveHalving
from sweeps.errors import ConfigError

__all__ = ["fault_of"]


def fault_of(error: ValidationError, tables: Mapping[str, Any], model: type[BaseModel]) -> Fault:
    """Returns the one thing to say of all that pydantic found: an unknown key first, for it may explain the rest.

    Args:
        error: what it raised.
        tables: what it was given.
        model: what they were to become.
    """
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")[0]
    path = [str(part) for part in details["loc"]]
    if len(path) > 1 and path[0] == "pruner":
        del path[1]  # pydantic puts the tag of the union in between
    if details["type"] == "extra_forbidden":
        table = _model_at(path[:-1], tables, model)
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


def _model_at(path: list[str], tables: Mapping[str, Any], model: type[BaseModel]) -> type[BaseModel]:
    if not path:
        return model
    if path[0] == "pruner":
        models: dict[str, type[BaseModel]] = {
            "median": Median,
            "successive_halving": SuccessiveHalving,
            "hyperband": Hyperband,
            "none": NoPruner,
        }
        return models[str(tables["pruner"].get("type", "median"))]
    if path[0] == "final":  # which may be left out
        return Final
    section = model.model_fields[path[0]].annotation
    assert isinstance(section, type)  # for mypy: only pruner is another union
    assert issubclass(section, BaseModel)
    return section
