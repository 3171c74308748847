"""Names of Specs. A file in the right folder whose Spec is decorated is all that a new layer or optimizer takes."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from mnistnn.errors import SpecError, nearest, nearest_or_gone
from mnistnn.spec import Spec

__all__ = ["Registry", "augmentation", "layer", "optimizer", "schedule"]

SpecClass = TypeVar("SpecClass", bound=type[Spec])


class Registry:
    """The Spec classes of one kind, by name; found in the modules of one package at the first look-up.

    Args:
        kind: what the Specs describe, as error lines call it.
        package: the package (or module) whose modules register them.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._found = False
        self._classes: dict[str, type[Spec]] = {}
        self._names: dict[type[Spec], str] = {}
        self._roles: dict[str, str | None] = {}

    def __call__(self, name: str, *, role: str | None = None) -> Callable[[SpecClass], SpecClass]:
        """Registers the decorated Spec class under `name`; `role` names the slot of an architecture that it fills."""

        def register(spec_class: SpecClass) -> SpecClass:
            if name in self._classes:
                raise SpecError(f"the name of a {self.kind} must be its own, but {name!r} is taken; choose another.")
            self._classes[name] = spec_class
            self._names[spec_class] = name
            self._roles[name] = role
            return spec_class

        return register

    def get(self, name: str) -> type[Spec]:
        """Returns the Spec class called `name`.

        Raises:
            SpecError: there is none.
        """
        self._discover()
        if name not in self._classes:
            raise SpecError(f"unknown {self.kind} {name!r}; {nearest_or_gone(name, self._classes)}")
        return self._classes[name]

    def names(self, role: str | None = None) -> list[str]:
        """Returns all names, sorted; with `role` those of the Specs that fill it."""
        self._discover()
        return sorted(name for name in self._classes if role is None or self._roles[name] == role)

    def name_of(self, spec: Spec) -> str:
        """Returns the name under which the class of `spec` is registered."""
        return self._names[type(spec)]

    def to_dict(self, spec: Spec) -> dict[str, Any]:
        """Returns `spec` as plain values, {"type": name, field: value, …}; see `Spec.written`."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in spec.written().items()}
        return {"type": self.name_of(spec)} | values

    def from_dict(self, values: Mapping[str, Any]) -> Any:
        """Builds the Spec that `to_dict` wrote, or that a user wrote in TOML.

        Raises:
            SpecError: an unknown type or field, or a value outside its domain.
        """
        name = values.get("type") if hasattr(values, "get") else None
        if not isinstance(name, str):
            raise SpecError(f"a {self.kind} must be a table with a `type`, but got {values!r}.")
        spec_class = self.get(name)
        known = {known.name for known in fields(spec_class)}
        given = {field: tuple(v) if isinstance(v, list) else v for field, v in values.items() if field != "type"}
        for field in given:
            if field not in known:
                raise SpecError(f"{self.kind} {name!r} has no field {field!r}; {nearest(field, known)}")
        return spec_class(**given)

    def _discover(self) -> None:
        if self._found:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", [])):
            importlib.import_module(f"{self._package}.{module.name}")
        self._found = True


layer = Registry("layer", "mnistnn.layers")
optimizer = Registry("optimizer", "mnistnn.optimizers")
schedule = Registry("schedule", "mnistnn.schedules")
augmentation = Registry("augmentation", "mnistnn.augment")
