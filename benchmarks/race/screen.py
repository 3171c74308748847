"""Showing a race: a picture that is redrawn in a terminal, or plain lines anywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

from benchmarks.race.picture import Line, compose
from benchmarks.race.processes import Finish, Lap
from benchmarks.race.scene import Scene, verdict
from sweeps.cli.options import show

__all__ = ["PlainLines", "Terminal", "ansi", "draws"]

_FRAME_S = 0.1
_CODES = {"": "", "dim": "2", "bold": "1", "goal": "33", "side0": "1;32", "side1": "1;35"}


def draws(stream: TextIO) -> bool:
    """Says whether a picture can be redrawn there."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        "⣿█┄✓".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def ansi(lines: Iterable[Line], *, colour: bool) -> list[str]:
    """Returns the lines with the terminal's codes for their styles."""
    codes = _CODES if colour else {}
    return ["".join(_coloured(text, codes.get(style, "")) for text, style in line) for line in lines]


def _coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


class Terminal:
    """Redraws the scene in the terminal's second screen, which survives any change of its size.

    Use it as a context: on leaving it the terminal is as before, with the last picture as ordinary text.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._next = 0.0
        self._colour = "NO_COLOR" not in os.environ

    def __enter__(self) -> Terminal:
        sys.stdout.write("\x1b[?1049h\x1b[?25l")
        self._draw()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        if kind is None:
            show("\n".join(self._lines()))

    def take(self, event: Lap | Finish) -> None:
        """Shows what a side reported, at most ten times a second: drawing takes time from the race."""
        if time.monotonic() >= self._next or isinstance(event, Finish):
            self._draw()

    def _draw(self) -> None:
        self._next = time.monotonic() + _FRAME_S
        sys.stdout.write("\x1b[H" + "\x1b[K\r\n".join(self._lines()) + "\x1b[K\x1b[J")
        sys.stdout.flush()

    def _lines(self) -> Sequence[str]:
        size = shutil.get_terminal_size()
        # One column less: some terminals wrap a line that is exactly full.
        return ansi(compose(self._scene, size.columns - 1, size.lines), colour=self._colour)


class PlainLines:
    """Says in lines what happens, where nothing can be redrawn."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __enter__(self) -> PlainLines:
        for line in self._scene.head:
            show(line)
        for track in self._scene.tracks:
            show(f"{track.label:12}  {track.detail}")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            show(verdict(self._scene))

    def take(self, event: Lap | Finish) -> None:
        """Says each point of a curve, and each finish."""
        label = self._scene.tracks[event.side].label
        if isinstance(event, Finish):
            show(f"{label:12}  {event.seconds:6.2f} s  {event.accuracy:.2%} of all test images")
        elif event.accuracy is not None:
            part = event.steps / self._scene.steps
            show(f"{label:12}  {event.seconds:6.2f} s  {event.accuracy:6.1%}  {part:4.0%}")
