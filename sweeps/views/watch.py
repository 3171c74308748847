"""Shows how something stands, again and again, until nothing more happens to it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from sweeps.views.screen import Screen, is_live

__all__ = ["Standing", "watch"]

_LIVE_S = 1.0
_PLAIN_S = 10.0  # where nothing can be drawn over


class Standing(Protocol):
    """What can be watched."""

    @property
    def is_at_work(self) -> bool:
        """Whether anything may still change."""

    def text(self, width: int | None = None) -> str:
        """Returns how it stands, no line longer than `width`."""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""


def watch(look: Callable[[], Standing], show: Callable[[str], object]) -> None:
    """Shows what `look` returns, in one place on a terminal, else one after another.

    Args:
        look: returns how it stands now.
        show: prints a text to standard output: the last state, and without a terminal each.
    """
    if not is_live(sys.stdout):
        while True:
            now = look()
            show(now.text())
            if not now.is_at_work:
                return
            time.sleep(_PLAIN_S)
    screen, text = Screen(sys.stdout), ""
    try:
        while True:
            now = look()
            text = now.text(screen.width)
            screen.draw(text.splitlines())
            if not now.is_at_work:
                return
            time.sleep(_LIVE_S)
    finally:
        screen.close()
        show(text)
