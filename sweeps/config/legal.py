"""What may be searched at all, read off the Specs of `mnistnn`: their fields, their domains, their defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, cast, get_args, get_type_hints

from mnistnn.architecture import Block, ConvNet
from mnistnn.augment import AugmentationSpec
from mnistnn.domains import Choice, Domain, domains_of
from mnistnn.layer import LayerSpec
from mnistnn.registry import Registry, augmentation, layer, optimizer, schedule
from mnistnn.spec import Spec
from mnistnn.training import TrainingSpec

__all__ = [
    "AUGMENT",
    "BLOCK",
    "BLOCK_DEFAULTS",
    "MAX_BLOCKS",
    "NET",
    "NET_DEFAULTS",
    "NONE",
    "TRAINING",
    "TRAINING_DEFAULTS",
    "USE",
    "Slot",
    "flatten",
    "slots",
]

MAX_BLOCKS = 4
"""28 pixels a side can be halved so often and leave something."""

NONE = "none"
"""What a slot that holds nothing holds."""

USE = "use"
"""What an augmentation has besides its Spec's fields: whether a trial of a study that knows it has it."""

# Said once a study, in [budget]; and each epoch is validated, for pruning wants to see it.
_NOT_SEARCHED = ("epochs", "validate_every")

_ROLES = {"pooling": "pool"}  # the one slot that is not called as its role


def defaults_of(spec_class: type[Spec], names: Iterable[str]) -> dict[str, Any]:
    """Returns the defaults of the fields called `names`."""
    known = {field.name: field for field in fields(spec_class)}
    found = {}
    for name in names:
        factory = known[name].default_factory
        found[name] = known[name].default if factory is MISSING else factory()
    return found


# What the numbers of a block, an architecture and a training may be, and what they are when nobody says anything.
BLOCK: Mapping[str, Domain] = domains_of(Block)
NET: Mapping[str, Domain] = domains_of(ConvNet)
TRAINING: Mapping[str, Domain] = {
    name: domain for name, domain in domains_of(TrainingSpec).items() if name not in _NOT_SEARCHED
}
BLOCK_DEFAULTS: Mapping[str, Any] = defaults_of(Block, BLOCK)
NET_DEFAULTS: Mapping[str, Any] = defaults_of(ConvNet, NET)
TRAINING_DEFAULTS: Mapping[str, Any] = defaults_of(TrainingSpec, TRAINING)


class Slot:
    """A place that one of several Specs fills: the optimizer, the activation and so on.

    Args:
        name: what the place is called.
        registry: knows the Specs.
        role: of the layers that fit; None where every Spec of the registry does.
        optional: whether it may stay empty.
        default: the Spec that is there when nobody says anything.
    """

    def __init__(self, name: str, registry: Registry, role: str | None, optional: bool, default: Spec | None) -> None:
        self.name = name
        self.registry = registry
        self.optional = optional
        self._role = role
        self._default = default

    def names(self) -> list[str]:
        """Returns the names of what fits."""
        return ([NONE] if self.optional else []) + self.registry.names(self._role)

    @property
    def default(self) -> str:
        """The name of what is there by default."""
        return NONE if self._default is None else self.registry.name_of(self._default)

    def legal(self, name: str) -> Mapping[str, Domain]:
        """Returns the domains of the fields of the Spec called `name`."""
        return {} if name == NONE else domains_of(self.registry.get(name))

    def defaults(self, name: str) -> dict[str, Any]:
        """Returns the values of those fields when nobody says anything."""
        if name == NONE:
            return {}
        if self._default is not None and name == self.default:
            return {field: getattr(self._default, field) for field in domains_of(type(self._default))}
        spec_class = self.registry.get(name)
        return defaults_of(spec_class, domains_of(spec_class))


class _Augment(Slot):
    """Not one place but a row of them: every augmentation that is given applies, unless its trial does without it."""

    def legal(self, name: str) -> Mapping[str, Domain]:
        """Returns the domains of its fields, behind that of `use` where a trial may do without it."""
        return ({USE: Choice(True, False)} if self.may_go(name) else {}) | {**super().legal(name)}

    def defaults(self, name: str) -> dict[str, Any]:
        """Returns the values of those fields when nobody says anything."""
        return ({USE: True} if self.may_go(name) else {}) | super().defaults(name)

    def may_go(self, name: str) -> bool:
        """Says whether a trial of a study that has the augmentation called `name` may do without it."""
        return name != NONE and not cast(type[AugmentationSpec], self.registry.get(name)).stays


AUGMENT = _Augment("augment", augmentation, None, True, None)


@cache
def slots() -> Mapping[str, Slot]:
    """Returns the slots of an architecture and of a training, by name."""
    training = TrainingSpec()
    found = {}
    for name, hint in get_type_hints(ConvNet).items():
        options = get_args(hint) or (hint,)
        if LayerSpec in options:
            default = defaults_of(ConvNet, [name])[name]
            found[name] = Slot(name, layer, _ROLES.get(name, name), type(None) in options, default)
    found["optimizer"] = Slot("optimizer", optimizer, None, False, training.optimizer)
    found["schedule"] = Slot("schedule", schedule, None, False, training.schedule)
    return found


def flatten(convnet: ConvNet, training: TrainingSpec) -> dict[str, Any]:
    """Returns an architecture and a training as plain names and values, as a study's trials have them."""
    values: dict[str, Any] = {"blocks": len(convnet.blocks)}
    for number, block in enumerate(convnet.blocks, 1):
        values |= {f"{name}_{number}": getattr(block, name) for name in BLOCK}
    values |= {name: getattr(convnet, name) for name in NET}
    values |= {name: getattr(training, name) for name in TRAINING}
    for name, slot in slots().items():
        spec = getattr(training if hasattr(training, name) else convnet, name)
        values |= _flat(name, spec, slot.registry)
    values["augment"] = "+".join(augmentation.name_of(spec) for spec in training.augment) or NONE
    for spec in training.augment:
        values |= {k: v for k, v in _flat("", spec, augmentation).items() if k}
    return values


def _flat(slot: str, spec: Spec | None, registry: Registry) -> dict[str, Any]:
    if spec is None:
        return {slot: NONE}
    name = registry.name_of(spec)
    return {slot: name} | {f"{name}.{field}": getattr(spec, field) for field in domains_of(type(spec))}
