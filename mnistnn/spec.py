"""The base of everything that is described before it is built: layers, optimizers, schedules, augmentations."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from mnistnn.domains import domains_of
from mnistnn.errors import SpecError

__all__ = ["Spec", "later"]

_LATER = "later"


def later(default: Any) -> Any:
    """Returns a field that came when there were files without it.

    It is written only where it is not its default: what could be said before is said in the same bytes, so that the
    digest of a trial's weights, in whose header it stands, still comes out again.
    """
    return field(default=default, metadata={_LATER: True})


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

    def written(self) -> dict[str, Any]:
        """Returns the fields as files have them: all but those that came later and are their default."""
        values = {known.name: (getattr(self, known.name), known) for known in fields(self)}
        return {
            name: value
            for name, (value, known) in values.items()
            if _LATER not in known.metadata or value != known.default
        }
