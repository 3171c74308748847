"""`[fixed]` and `[search]`: from tables that people write to one domain for each plain name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnistnn.domains import Choice, Domain, FloatRange, IntRange
from mnistnn.errors import nearest, nearest_or_gone
from sweeps.config.fault import Fault, shown
from sweeps.config.legal import (
    AUGMENT,
    BLOCK,
    BLOCK_DEFAULTS,
    MAX_BLOCKS,
    NET,
    NET_DEFAULTS,
    NONE,
    TRAINING,
    TRAINING_DEFAULTS,
    USE,
    Slot,
    slots,
)
from sweeps.config.ranges import Path, read_domain

__all__ = ["SearchSpace", "parse_search", "settled"]

_ELSEWHERE = {
    "epochs": "belongs into [budget]: pruning compares trials epoch by epoch, so all have as many; move it there.",
    "validate_every": "is always 1 in a study, for pruning looks at each epoch; take it out.",
    "seed": "belongs into [study]; move it there.",
}


def settled(domain: Domain) -> bool:
    """Says whether only one value is left, so that there is nothing to ask."""
    return isinstance(domain, Choice) and len(domain.values) == 1


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What each plain name may be.

    Attributes:
        domains: by plain name ("filters_1", "optimizer", "adam.learning_rate"); a choice of one is settled.
        paths: the keys in the file that the given ones come from.
    """

    domains: dict[str, Domain] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)

    def check_enumerated(self) -> None:
        """Checks that a grid can go over every domain.

        Raises:
            Fault: one is a range without steps.
        """
        for name, domain in self.domains.items():
            if isinstance(domain, FloatRange) and domain.step is None:
                raise Fault(
                    self.paths[name],
                    "must be a list or have a step for the sampler 'grid', but is a range without steps; "
                    'give it a step, or take sampler.type = "random".',
                )


def parse_search(fixed: Mapping[str, Any], search: Mapping[str, Any]) -> SearchSpace:
    """Reads both tables.

    Raises:
        Fault: an unknown key, one that stands in both, or values that the Specs do not allow.
    """
    return _Parser(fixed, search).parse()


class _Parser:
    def __init__(self, fixed: Mapping[str, Any], search: Mapping[str, Any]) -> None:
        # Each key with the table it stands in: the same key may not stand in both.
        self._given: dict[str, tuple[str, Any]] = {key: ("fixed", value) for key, value in fixed.items()}
        for key, value in search.items():
            if key in self._given:
                raise Fault(
                    ("search", key),
                    "must not also stand in [fixed]; take it out there (one value under [search] is fixed too).",
                )
            self._given[key] = ("search", value)
        self._space = SearchSpace()

    def parse(self) -> SearchSpace:
        for key, (table, _) in self._given.items():
            _check_key(table, key)
        self._field("blocks", ["blocks"], IntRange(0, MAX_BLOCKS), 2)
        for number in range(1, MAX_BLOCKS + 1):
            for name, legal in BLOCK.items():
                # What is said of one block goes before what is said of all.
                self._field(f"{name}_{number}", [f"{name}_{number}", name], legal, BLOCK_DEFAULTS[name])
        for name, legal in NET.items():
            self._field(name, [name], legal, NET_DEFAULTS[name])
        for name, legal in TRAINING.items():
            self._field(name, [name], legal, TRAINING_DEFAULTS[name])
        for slot in slots().values():
            self._slot(slot)
        self._augment()
        return self._space

    def _field(self, plain: str, keys: Sequence[str], legal: Domain, default: Any) -> None:
        for key in keys:
            if key in self._given:
                table, value = self._given[key]
                self._set(plain, (table, key), value, legal)
                return
        self._space.domains[plain] = Choice(default)

    def _set(self, plain: str, path: Path, value: Any, legal: Domain) -> None:
        self._space.domains[plain] = read_domain(path, value, legal)
        self._space.paths[plain] = path

    def _slot(self, slot: Slot) -> None:
        table, value = self._given.get(slot.name, ("fixed", slot.default))
        path = (table, slot.name)
        if slot.name == "schedule" and table == "search":
            raise Fault(path, "is fixed within a study, for pruning compares curves; move it to [fixed].")
        given = _named(value, path, slot.names())
        if table == "fixed" and len(given) > 1:
            raise Fault(path, f"must be one under [fixed], but got {shown(list(given))}; move it to [search].")
        self._space.domains[slot.name] = Choice(*given)
        self._space.paths[slot.name] = path
        for name, values in given.items():
            self._spec(slot, name, values, path)

    def _augment(self) -> None:
        table, value = self._given.get(AUGMENT.name, ("fixed", NONE))
        path = (table, AUGMENT.name)
        given = _named(value, path, AUGMENT.names())
        given.pop(NONE, None)
        # All that are given apply, unless a trial does without one; named in the order of their names.
        self._space.domains[AUGMENT.name] = Choice("+".join(given) or NONE)
        for name, values in given.items():
            self._spec(AUGMENT, name, values, path)

    def _spec(self, slot: Slot, name: str, values: Mapping[str, Any], path: Path) -> None:
        legal, defaults = slot.legal(name), slot.defaults(name)
        for key in values:
            if key not in legal:
                if slot is AUGMENT and key == USE:
                    raise Fault(
                        (*path, name, key), f"is not asked of {name!r}, which stays in every trial; take it out."
                    )
                known = nearest(key, legal) if legal else "it has no keys; take it out."
                raise Fault((*path, name, key), f"is no key of {name!r}; {known}")
        for key, domain in legal.items():
            if key in values:
                self._set(f"{name}.{key}", (*path, name, key), values[key], domain)
            else:
                self._space.domains[f"{name}.{key}"] = Choice(defaults[key])


def _check_key(table: str, key: str) -> None:
    known = ["blocks", *BLOCK, *NET, *TRAINING, *slots(), AUGMENT.name]
    numbered = [f"{name}_{number}" for name in BLOCK for number in range(1, MAX_BLOCKS + 1)]
    if key in known or key in numbered:
        return
    if key in _ELSEWHERE:
        raise Fault((table, key), _ELSEWHERE[key])
    for slot in (*slots().values(), AUGMENT):
        for name in slot.names():
            if key == name or key in slot.legal(name):
                raise Fault((table, key), f"belongs to {slot.name}; write it under [{table}.{slot.name}.{name}].")
    close = difflib.get_close_matches(key, [*known, *numbered], n=1)
    raise Fault((table, key), f"is not a key of a study; {nearest(key, close or known)}")


def _named(value: object, path: Path, known: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Returns the Specs that a slot is given, each with its own table: from a name, a list of names, or tables."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        names = value
    elif isinstance(value, Mapping):
        names = sorted(value)  # so that the order of tables in the file means nothing
    else:
        names = []
    if not names:
        rule = f"must be names or tables of them, but got {shown(value)}; known are: {', '.join(known)}."
        raise Fault(path, rule)
    given: dict[str, Mapping[str, Any]] = {}
    for name in names:
        where = (*path, name) if isinstance(value, Mapping) else path
        if name not in known:
            raise Fault(where, f"must be known, but {shown(name)} is not; {nearest_or_gone(str(name), known)}")
        if name in given:
            raise Fault(path, f"must name each once, but got {shown(value)}; take one out.")
        table = value[name] if isinstance(value, Mapping) else {}
        if not isinstance(table, Mapping):
            raise Fault(where, f"must be a table of its fields, but got {shown(table)}; write [{'.'.join(where)}].")
        given[name] = table
    return given
