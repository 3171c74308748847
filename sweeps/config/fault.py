"""What is wrong where in a study's tables, before it is known from which file they come."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

__all__ = ["Fault", "dotted", "shown"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Fault(Exception):
    """The value at `path` breaks a rule; whoever knows the file makes a `ConfigError` of it.

    Args:
        path: the keys that lead to it.
        rule: what must hold and what is there instead, as the rest of a sentence that begins with the dotted path.
    """

    def __init__(self, path: Sequence[str], rule: str) -> None:
        super().__init__(f"{dotted(path)} {rule}")
        self.path = tuple(path)
        self.rule = rule


def dotted(path: Sequence[str]) -> str:
    """Returns the path as TOML writes it."""
    return ".".join(key if _BARE.fullmatch(key) else json.dumps(key)[:60] for key in path)


def shown(value: object) -> str:
    """Returns a value as an error line shows it: short, and on one line."""
    plain = isinstance(value, bool | str | list | dict)
    try:
        text = json.dumps(value, default=str, ensure_ascii=False) if plain else repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    text = "".join(c if c.isprintable() else "?" for c in " ".join(text.splitlines()))
    return text if len(text) <= 80 else text[:77] + "…"
