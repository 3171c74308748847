"""`[arms]`: what a study compares, one table an arm, each with the values that differ from `[fixed]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnistnn.domains import Choice, Domain
from mnistnn.errors import nearest
from sweeps.config.fault import Fault, shown
from sweeps.config.legal import AUGMENT, BLOCK, MAX_BLOCKS, slots
from sweeps.config.search import parse_search

__all__ = ["Ablation", "Arm", "parse_arms"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_FEWEST_SEEDS, _MOST_SEEDS = 2, 1000
_DEFAULT_SEEDS = 5
_MOST_ARMS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One of the things that a study compares.

    Attributes:
        name: what it is called.
        against: the arms that it is compared with; none for one that others are compared with only.
        overrides: its values that differ from `[fixed]`, by plain name.
    """

    name: str
    against: tuple[str, ...]
    overrides: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """What a study compares.

    Attributes:
        seeds: how often each arm is trained; the k-th seed is the same in all arms.
        arms: the arms, in the order of the file.
    """

    seeds: int
    arms: tuple[Arm, ...]

    @property
    def trials(self) -> int:
        """How many trainings that is."""
        return self.seeds * len(self.arms)

    def __str__(self) -> str:
        return f"{len(self.arms)} arms by {self.seeds} seeds"


def parse_arms(fixed: Mapping[str, Any], table: Mapping[str, Any]) -> Ablation:
    """Reads `[arms]` over `[fixed]`.

    Raises:
        Fault: there are too few arms or seeds, one compares itself with what is not there, or a value is not legal.
    """
    arms = {name: value for name, value in table.items() if name != "seeds"}
    seeds = table.get("seeds", _DEFAULT_SEEDS)
    if type(seeds) is not int or not _FEWEST_SEEDS <= seeds <= _MOST_SEEDS:
        rule = f"must be a whole number from {_FEWEST_SEEDS} to {_MOST_SEEDS}, but got {shown(seeds)}; correct it."
        raise Fault(("arms", "seeds"), rule)
    if not 2 <= len(arms) <= _MOST_ARMS:
        rule = f"must have from 2 to {_MOST_ARMS} arms to compare, but got {len(arms)}; write one as [arms.NAME]."
        raise Fault(("arms",), rule)
    for name, value in arms.items():
        if not isinstance(value, Mapping):
            raise Fault(("arms", name), f"must be a table, but got {shown(value)}; write [arms.{name}], or `seeds`.")
        if not _NAME.fullmatch(name):
            rule = "must be called by letters, digits, - and _, at most 40, the first no sign; rename it."
            raise Fault(("arms", name), rule)
    base = parse_search(fixed, {}).domains
    first = next(iter(arms))
    read = [_arm(name, values, first, fixed, base) for name, values in arms.items()]
    for arm in read:
        others = [name for name in arms if name != arm.name]
        for other in arm.against:
            if other not in others:
                rule = f"must be another arm, but got {shown(other)}; {nearest(other, others)}"
                raise Fault(("arms", arm.name, "against"), rule)
    return Ablation(seeds=seeds, arms=tuple(read))


def _arm(name: str, table: Mapping[str, Any], first: str, fixed: Mapping[str, Any], base: Mapping[str, Domain]) -> Arm:
    against = table.get("against", [] if name == first else [first])
    against = [against] if isinstance(against, str) else against
    if not isinstance(against, list) or not all(isinstance(other, str) for other in against):
        raise Fault(
            ("arms", name, "against"), f"must be an arm's name, or a list, but got {shown(against)}; correct it."
        )
    own = {key: value for key, value in table.items() if key != "against"}
    try:
        domains = parse_search(_over(fixed, own), {}).domains
    except Fault as fault:
        if len(fault.path) < 2 or fault.path[1] not in own:  # [fixed] itself is at fault
            raise
        rule = fault.rule.replace("must be one under [fixed]", "must be one in an arm")
        rule = rule.replace("under [fixed]", "in an arm").replace("move it to [search].", "make each an arm.")
        raise Fault(("arms", name, *fault.path[1:]), rule.replace("[fixed.", f"[arms.{name}.")) from None
    values = {known: domain.values[0] for known, domain in domains.items() if isinstance(domain, Choice)}
    differing = {known: value for known, value in values.items() if base.get(known) != domains[known]}
    return Arm(name=name, against=tuple(dict.fromkeys(against)), overrides=differing)


def _over(fixed: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `[fixed]` with an arm's values over it; of a Spec that both have, the fields that the arm leaves out."""
    merged = dict(fixed)
    for key, value in own.items():
        if key in BLOCK:  # said of all blocks, it also holds for those that [fixed] says something of
            for number in range(1, MAX_BLOCKS + 1):
                if f"{key}_{number}" not in own:
                    merged.pop(f"{key}_{number}", None)
        known = fixed.get(key)
        if (key in slots() or key == AUGMENT.name) and isinstance(value, Mapping) and isinstance(known, Mapping):
            value = {spec: _joined(known.get(spec), fields) for spec, fields in value.items()}
        merged[key] = value
    return merged


def _joined(known: Any, fields: Any) -> Any:
    return {**known, **fields} if isinstance(known, Mapping) and isinstance(fields, Mapping) else fields
