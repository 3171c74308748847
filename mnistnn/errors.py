"""The errors of the project that a user can cause, and the two ways in which a training ends early."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "DataError",
    "Diverged",
    "InputError",
    "OutputError",
    "SizeError",
    "SpecError",
    "Stopped",
    "nearest",
    "nearest_or_gone",
]


class InputError(ValueError):
    """What the user gave cannot be used. The message is one line: the rule, the value and the remedy."""

    def _render_traceback_(self) -> list[str]:
        """Tells IPython to show that line alone, as the command line does; nothing of ours is wrong."""
        return [f"{type(self).__name__}: {self}"]


class DataError(InputError):
    """Images or labels that cannot be found, read or trusted."""


class SizeError(DataError):
    """An image of another size than a net takes."""


class SpecError(InputError):
    """A description of a network or a training that is not legal or not possible."""


class CheckpointError(InputError):
    """A file of weights or a checkpoint that is damaged or does not fit."""


class OutputError(InputError):
    """A result that cannot be written where the user wants it."""


class Diverged(Exception):
    """The training loss stopped being a finite number."""


class Stopped(Exception):
    """The training was asked to stop, and did so between two steps."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns the end of an error line: the known name that `name` may stand for, else all of them."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}."


def nearest_or_gone(name: str, names: Iterable[str]) -> str:
    """Returns that end for a name that a file of the checkout registers: it may have been moved away since."""
    end = nearest(name, names)
    is_typo = end.startswith("did you mean")
    return end if is_typo else f"{end.removesuffix('.')}; if it was known before, put the file back that registered it."
