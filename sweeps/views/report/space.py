"""A study's search space in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mnistnn.domains import Choice, Domain, FloatRange
from sweeps.config import StudyConfig
from sweeps.config.legal import BLOCK, USE, slots
from sweeps.config.search import settled
from sweeps.study.space import NEEDS, Space
from sweeps.views.report.listed import SpaceRow
from sweeps.views.report.words import cell, words

__all__ = ["fixed_rows", "searched_rows"]

_FEW = 6  # values of a range in steps that are listed one by one
_WHEN = {"blocks": "with blocks", "dense_units": "with a dense layer"}


def searched_rows(config: StudyConfig, winner: Mapping[str, Any]) -> list[SpaceRow]:
    """Returns what is searched, a row each; blocks that may be the same share theirs.

    Args:
        config: the study.
        winner: the best trial's choices, by plain name; may be empty.
    """
    space = Space(config)
    known = space.searched
    needed = {need for need in _WHEN if known.get(need) is not None and known[need].contains(0)}
    fewest = min(_ends(space.domains["blocks"]))
    alike = _alike(known, space.domains)
    rows: list[SpaceRow] = []
    done: set[str] = set()
    for name, domain in known.items():
        if name in done:
            continue
        names = alike.get(name.rpartition("_")[0], (name,))
        if name not in names:
            names = (name,)
        done.update(names)
        chosen = [cell(winner[each]) for each in names if each in winner]
        title = _title(name) if len(names) == 1 else f"{words(name.rpartition('_')[0])}, each block"
        rows.append(
            SpaceRow(
                name=title, values=_values(domain), when=_when(name, known, needed, fewest), winner="-".join(chosen)
            )
        )
    return rows


def fixed_rows(config: StudyConfig) -> list[SpaceRow]:
    """Returns what the study's file says that every trial has; of what stands nowhere, nothing."""
    space = config.search_space()
    searched, written = Space(config).searched, {**config.fixed, **config.search}
    rows = []
    for name, path in space.paths.items():
        domain = space.domains[name]
        # `filters` in the file is said of each block; once is enough, by the name that was written.
        title = path[-1] if path[-1] in BLOCK else name
        if path[1] in written and name not in searched and settled(domain) and isinstance(domain, Choice):
            rows.append(SpaceRow(name=_title(title), values=cell(domain.values[0]), when="", winner=""))
    return list(dict.fromkeys(rows))


def _alike(known: Mapping[str, Domain], domains: Mapping[str, Domain]) -> dict[str, tuple[str, ...]]:
    """Returns the names of a field of all blocks, where all may be the same."""
    most = max(_ends(domains["blocks"]))
    alike = {}
    for field in BLOCK:
        names = tuple(f"{field}_{number}" for number in range(1, most + 1))
        if len(names) > 1 and all(name in known for name in names) and len({str(domains[name]) for name in names}) == 1:
            alike[field] = names
    return alike


def _title(name: str) -> str:
    field, _, number = name.rpartition("_")
    if field in BLOCK and number.isdigit():
        return f"{words(field)}, block {number}"
    spec, dot, field = name.partition(".")
    return f"{words(field)} of {words(spec)}" if dot else words(name)


def _ends(blocks: Domain) -> tuple[int, ...]:
    return tuple(blocks.values) if isinstance(blocks, Choice) else (int(blocks.low), int(blocks.high))


def _when(name: str, known: Iterable[str], needed: Iterable[str], fewest: int) -> str:
    spec, dot, _ = name.partition(".")
    if dot:
        for slot in slots().values():
            if spec in slot.names() and slot.name in known:
                return f"with {slot.name} {words(spec)}"
        switch = f"{spec}.{USE}"
        return f"with {words(spec)}" if switch in known and name != switch else ""
    field, _, number = name.rpartition("_")
    if field in BLOCK and number.isdigit():
        return "" if int(number) <= max(1, fewest) else f"with {number} blocks or more"
    needs = NEEDS.get(name, ())
    return " or ".join(_WHEN[need] for need in needs) if needs and all(need in needed for need in needs) else ""


def _values(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return ", ".join(map(cell, domain.values))
    if isinstance(domain, FloatRange):
        steps = f", in steps of {domain.step:g}" if domain.step is not None else ""
    else:
        count = (domain.high - domain.low) // domain.step + 1
        if count <= _FEW and not domain.log:
            return ", ".join(map(str, range(domain.low, domain.high + 1, domain.step)))
        steps = f", in steps of {domain.step}" if domain.step > 1 else ""
    return f"{domain.low:g} to {domain.high:g}{steps}" + (", drawn by its logarithm" if domain.log else "")
