"""The base of everything that is described before it is built: layers, optimizers, schedules, augmentations."""

from __future__ import annotations

from dataclasses import dataclass

from mnistnn.domains import domains_of
from mnistnn.errors import SpecError

__all__ = ["Spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A frozen description. A field that is annotated with a domain is checked against it.

    Raises:
        SpecError: a value lies outside its field's domain.
    """

    def __post_init__(self) -> None:
        for name, domain in domains_of(type(self)).items():
            value = getattr(self, name)
            if not domain.contains(value):
                raise SpecError(f"`{name}` must be {domain}, but got {value!r}.")
