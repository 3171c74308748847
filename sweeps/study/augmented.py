"""Which augmentations a trial has: what its study knows, but for those that it does without."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mnistnn.domains import Choice, Domain
from sweeps.config.legal import AUGMENT, NONE, USE

__all__ = ["same_choices", "spelled", "used"]


def used(values: Mapping[str, Any]) -> list[str]:
    """Returns the names of the augmentations that a trial with these values has, in their order."""
    names = _parts(values[AUGMENT.name])
    return [name for name in names if values.get(f"{name}.{USE}", True)]


def spelled(wanted: Collection[str], domains: Mapping[str, Domain]) -> dict[str, Any]:
    """Returns the values by which a trial has these augmentations and no others.

    Where its study knows them all, and the others may go, these do without being used; else the row itself is another
    one, which lies beside the study.

    Args:
        wanted: their names.
        domains: of the study.
    """
    row = domains[AUGMENT.name]
    own = _parts(row.values[0]) if isinstance(row, Choice) else []
    if set(wanted) <= {*own} and all(name in wanted or _may_go(name, domains) for name in own):
        names = own
    else:
        names = sorted(wanted)
    return {AUGMENT.name: "+".join(names) or NONE} | {
        f"{name}.{USE}": name in wanted for name in names if AUGMENT.may_go(name)
    }


def same_choices(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Says whether two trials' values come to the same, however their augmentations are spelled."""
    return _unspelled(one) == _unspelled(other)


def _unspelled(values: Mapping[str, Any]) -> dict[str, Any]:
    names = used(values)
    left_out = {*_parts(values[AUGMENT.name])} - {*names}
    switches = {f"{name}.{USE}" for name in AUGMENT.names()}
    rest = {k: v for k, v in values.items() if k not in switches and k.partition(".")[0] not in left_out}
    return rest | {AUGMENT.name: sorted(names)}


def _parts(row: str) -> list[str]:
    return [name for name in row.split("+") if name != NONE]


def _may_go(name: str, domains: Mapping[str, Domain]) -> bool:
    domain = domains.get(f"{name}.{USE}")
    return domain is not None and domain.contains(False)
