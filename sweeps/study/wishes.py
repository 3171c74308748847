"""What somebody wants of a trial, as NAME=VALUE: names as `trials` and the files show them, values as Specs allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnistnn.domains import Choice, Domain, IntRange
from mnistnn.errors import nearest
from sweeps.config.fault import Fault, shown
from sweeps.config.file import parse_value
from sweeps.config.legal import AUGMENT, BLOCK, MAX_BLOCKS, NET, NONE, TRAINING, slots
from sweeps.config.ranges import legal_value
from sweeps.errors import ConfigError
from sweeps.study.augmented import spelled
from sweeps.study.labels import bare_names, block_columns
from sweeps.study.space import Space, Values

__all__ = ["Wish", "merge", "read_wishes"]

_SCHEDULE = "is the same for all trials of a study, for pruning compares their curves; leave it out."
_ELSEWHERE = {
    "epochs": "is the same for all trials of a study; leave it out, and train the trial for longer by `extend`.",
    "architecture": "follows from blocks, filters, kernels and so on; choose those.",
    "seed": "follows from the study's seed and the trial's number; leave it out.",
    "schedule": _SCHEDULE,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """One NAME=VALUE, and what it comes to.

    Attributes:
        name: as it was given.
        value: likewise.
        values: by plain name, all that is set by it. `learning_rate` sets that of every optimizer that may be drawn.
        ways: parts of `values`, each of which fulfils the wish.
        is_broad: whether it is about all blocks at once, and gives way to what is said of one.
    """

    name: str
    value: str
    values: Values
    ways: tuple[Values, ...]
    is_broad: bool = False

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Says whether a trial with these values has what is wished."""
        return any(all(values.get(name) == value for name, value in way.items()) for way in self.ways)

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


def read_wishes(texts: Iterable[str], space: Space) -> list[Wish]:
    """Reads NAME=VALUE after NAME=VALUE.

    Args:
        texts: such as "learning_rate=2e-3", "filters=32-64", "adam.learning_rate=2e-3", "kernel_2=5".
        space: of the study that the trial is for.

    Raises:
        ConfigError: a name is unknown, or a value is not legal.
    """
    reader = _Reader(space)
    return [reader.read(text) for text in texts]


def merge(wishes: Sequence[Wish]) -> Values:
    """Returns all that is set by wishes; what is said of one block goes before what is said of all.

    Raises:
        ConfigError: two of them set the same thing to different values.
    """
    merged: Values = {}
    for is_broad in (True, False):
        by: dict[str, Wish] = {}
        for wish in wishes:
            for name, value in wish.values.items() if wish.is_broad is is_broad else ():
                if name in by and merged[name] != value:
                    raise ConfigError(f"a value must be given once, but got {by[name]} and {wish}; leave one out.")
                merged[name], by[name] = value, wish
    return merged


class _Reader:
    def __init__(self, space: Space) -> None:
        self._own = space.domains
        self._legal = _legal()
        self._fields = {column: field for field, column in block_columns().items()} | {name: name for name in BLOCK}
        self._bare: dict[str, list[str]] = {}
        for full, bare in bare_names(space.domains).items():
            self._bare.setdefault(bare, []).append(full)
        for names in self._bare.values():
            names.sort(key=lambda full: full not in self._own)  # an error is about what the study searches

    def read(self, text: str) -> Wish:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise ConfigError(
                f"a value must be given like learning_rate=2e-3, but got {shown(text)}; write NAME=VALUE."
            )
        try:
            return self._read(name, value)
        except Fault as fault:
            raise ConfigError(f"{shown(text)}: {fault}") from None

    def _read(self, name: str, value: str) -> Wish:
        if name in _ELSEWHERE:
            raise Fault((name,), _ELSEWHERE[name])
        if name in self._fields:
            return self._of_blocks(name, value)
        if name in self._bare:
            return self._of_bare(name, value)
        if name == AUGMENT.name:
            return self._of_augment(name, value)
        if name not in self._legal:
            raise Fault((name,), f"is no value of a trial; {self._nearest(name)}")
        self._refuse_schedule(name, name)
        values = {name: _value(name, value, self._legal[name])}
        return Wish(name, value, values, (values,))

    def _of_blocks(self, name: str, value: str) -> Wish:
        """Reads a column: "32-64" is said of two blocks, and of no more; a single value of all that there are."""
        field, parts = self._fields[name], value.split("-")
        given = [_value(name, part, BLOCK[field]) for part in parts]
        if len(given) == 1:
            every = {f"{field}_{number}": given[0] for number in range(1, MAX_BLOCKS + 1)}
            return Wish(name, value, every, tuple({full: each} for full, each in every.items()), is_broad=True)
        values: Values = {"blocks": _value("blocks", str(len(given)), self._legal["blocks"])}
        values |= {f"{field}_{number}": each for number, each in enumerate(given, 1)}
        return Wish(name, value, values, (values,))

    def _of_bare(self, name: str, value: str) -> Wish:
        """Reads a field of a Spec without the Spec's name: it is meant for whichever of them the trial has."""
        values: Values = {}
        faults = []
        for full in self._bare[name]:
            self._refuse_schedule(full, name)
            try:
                values[full] = _value(name, value, self._legal[full])
            except Fault as fault:  # what is too much for one optimizer may be right for another
                faults.append(fault)
        if not values:
            raise faults[0]
        return Wish(name, value, values, tuple({full: each} for full, each in values.items()))

    def _of_augment(self, name: str, value: str) -> Wish:
        """Reads augmentations, "a+b": which, not in which order; the study's own is kept where it allows for them."""
        parts, known = sorted(value.split("+")), AUGMENT.names()
        for part in parts:
            if part not in known:
                raise Fault((name,), f"must be known, but {shown(part)} is not; {nearest(part, known)}")
        if len(set(parts)) < len(parts) or (NONE in parts and len(parts) > 1):
            raise Fault((name,), f"must be each once, or {NONE} alone, but got {shown(value)}; correct it.")
        values = spelled([part for part in parts if part != NONE], self._own)
        return Wish(name, value, values, (values,))

    def _refuse_schedule(self, full: str, name: str) -> None:
        spec, dot, _ = full.partition(".")
        if dot and spec in slots()["schedule"].names():
            raise Fault((name,), f"belongs to the schedule, which {_SCHEDULE}")

    def _nearest(self, name: str) -> str:
        """Names what may be meant: of the names that people see if one comes near, else of all."""
        seen = [*self._fields, *self._bare, *(each for each in self._legal if "." not in each)]
        numbered = {f"{field}_{number}" for field in BLOCK for number in range(1, MAX_BLOCKS + 1)}
        hint = nearest(name, [*seen, *self._legal])
        return (
            hint if hint.startswith("did you mean") else nearest(name, [each for each in seen if each not in numbered])
        )


def _legal() -> dict[str, Domain]:
    """Returns what each plain name may be, in any study."""
    legal: dict[str, Domain] = {"blocks": IntRange(0, MAX_BLOCKS)}
    legal |= {f"{name}_{number}": domain for name, domain in BLOCK.items() for number in range(1, MAX_BLOCKS + 1)}
    legal |= {**NET, **TRAINING}
    for name, slot in (*slots().items(), (AUGMENT.name, AUGMENT)):
        if slot is not AUGMENT:
            legal[name] = Choice(*slot.names())
        for spec in slot.names():
            legal |= {f"{spec}.{field}": domain for field, domain in slot.legal(spec).items()}
    return legal


def _value(name: str, text: str, legal: Domain) -> Any:
    value = parse_value(text)
    is_flag = isinstance(legal, Choice) and all(isinstance(known, bool) for known in legal.values)
    if is_flag and type(value) is int and value in (0, 1):  # as `trials` shows them
        value = bool(value)
    return legal_value((name,), value, legal)
